//! Text from a model.
//!
//! ```no_run
//! use language::{GenerateConfig, generate, load};
//! # use std::path::Path;
//! let (model, tokenizer) = load(Path::new("model.safetensors"), Path::new("tokenizer.json"))?;
//! let beginning = "이 영화는";
//! println!("{beginning}{}", generate(&model, &tokenizer, beginning, &GenerateConfig::default(), &mut |_| {})?);
//! # Ok::<(), language::GenerateError>(())
//! ```

use crate::{Decoder, Family, Tokenizer, TokenizerError, from_checkpoint};
use nn::{Checkpoint, CheckpointError, Model};
use std::path::{Path, PathBuf};

/// How to choose among the tokens that may come next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerateConfig {
    /// 0 takes the likeliest token, 1 samples as the model says, more is bolder.
    pub temperature: f32,
    /// Samples among the likeliest tokens that make up this probability; above 0, and 1 means all.
    pub top_p: f32,
    /// The most tokens.
    pub max_tokens: usize,
    /// The same seed gives the same text.
    pub seed: u64,
    /// Whether weights of 16 bits are read: nearly twice as fast, and rounded.
    pub halved: bool,
}

impl Default for GenerateConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_p: 0.9,
            max_tokens: 64,
            seed: 1,
            halved: false,
        }
    }
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A setting out of range.
    #[error("{field} is {value}: {wanted}")]
    Setting {
        /// Which setting.
        field: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        wanted: &'static str,
    },
    /// A beginning that leaves no room.
    #[error("the beginning has {tokens} tokens and the model takes {room} at most: shorten it")]
    Beginning {
        /// Its tokens.
        tokens: usize,
        /// The most that leave room for another.
        room: usize,
    },
    /// A tokeniser of another model.
    #[error(
        "the tokeniser has {tokenizer} tokens and the model {model}: take the tokenizer.json that came with \
         the model"
    )]
    Mismatch {
        /// Tokens in the tokeniser's vocabulary.
        tokenizer: usize,
        /// Tokens in the model's.
        model: usize,
    },
    /// Weights that are no numbers.
    #[error("the model answers with what is no number: its weights are damaged, or its training diverged")]
    NotANumber,
    /// A checkpoint that can't be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint of something else.
    #[error("{path} holds no model: {error}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        error: nn::Error,
    },
    /// The model refused a token.
    #[error(transparent)]
    Model(#[from] nn::Error),
    /// No tokeniser, or a text it can't tokenise.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Reads a model and the tokeniser that goes with it.
pub fn load(model: &Path, tokenizer: &Path) -> Result<(Model<Family>, Tokenizer), GenerateError> {
    let checkpoint = Checkpoint::read(model)?;
    let model = from_checkpoint(&checkpoint).map_err(|error| GenerateError::Content {
        path: model.to_owned(),
        error,
    })?;
    let tokenizer = Tokenizer::open(tokenizer)?;
    check_fit(&model, &tokenizer)?;
    Ok((model, tokenizer))
}

/// Goes on from `beginning`, and returns what comes after it: up to the end of the document, to
/// `max_tokens`, or to the end of the model's context. Bytes that make no character are left out. `tell` gets
/// the same text in parts, as it comes.
pub fn generate(
    model: &Model<Family>,
    tokenizer: &Tokenizer,
    beginning: &str,
    config: &GenerateConfig,
    tell: &mut dyn FnMut(&str),
) -> Result<String, GenerateError> {
    config.check()?;
    check_fit(model, tokenizer)?;
    let given = tokenizer.encode(beginning)?;
    let mut decoder = match config.halved {
        true => Decoder::halved(model),
        false => Decoder::new(model),
    };
    // Of the context, the end before the document takes one token.
    let room = decoder.room().saturating_sub(1);
    if given.len() > room {
        let tokens = given.len();
        return Err(GenerateError::Beginning { tokens, room });
    }
    // In training, a document begins after the end of another.
    let beginning: Vec<u32> = [tokenizer.end()].into_iter().chain(given).collect();
    let mut logits = decoder.feed(&beginning)?;

    let mut random = Random(config.seed);
    let (mut written, mut told) = (Vec::new(), String::new());
    while written.len() < config.max_tokens {
        let token = config.choose(&logits, &mut random)?;
        if token == tokenizer.end() {
            break;
        }
        written.push(token);
        let text = tokenizer.decode(&written);
        if let Some(part) = text.strip_prefix(&told).filter(|part| !part.is_empty()) {
            tell(part);
            told = text;
        }
        if decoder.room() == 0 {
            break;
        }
        logits = decoder.feed(&[token])?;
    }
    Ok(tokenizer.decode(&written))
}

impl GenerateConfig {
    fn check(&self) -> Result<(), GenerateError> {
        let bad = |field, value, wanted| Err(GenerateError::Setting { field, value, wanted });
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return bad("temperature", self.temperature, "it takes numbers from 0 on");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p, "it takes numbers above 0, up to 1");
        }
        Ok(())
    }

    /// The next token. Of two that are as likely, the lower comes first.
    fn choose(&self, logits: &[f32], random: &mut Random) -> Result<u32, GenerateError> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(GenerateError::NotANumber);
        }
        let mut likeliest: Vec<u32> = (0..logits.len() as u32).collect();
        let logit = |token: u32| f64::from(logits[token as usize]);
        likeliest.sort_by(|&a, &b| logit(b).total_cmp(&logit(a)));
        let highest = logit(likeliest[0]);
        if self.temperature == 0.0 {
            return Ok(likeliest[0]);
        }
        let weight = |token: u32| ((logit(token) - highest) / f64::from(self.temperature)).exp();
        let total: f64 = likeliest.iter().map(|&token| weight(token)).sum();
        let nucleus = f64::from(self.top_p) * total;
        let mut sums = Vec::new();
        let mut sum = 0.0;
        for &token in &likeliest {
            sum += weight(token);
            sums.push(sum);
            if sum >= nucleus {
                break;
            }
        }
        let mark = random.next() * sum;
        let index = sums.partition_point(|&sum| sum <= mark).min(sums.len() - 1);
        Ok(likeliest[index])
    }
}

fn check_fit(model: &Model<Family>, tokenizer: &Tokenizer) -> Result<(), GenerateError> {
    let (tokenizer, model) = (tokenizer.vocab(), model.network.config().vocab);
    if tokenizer != model {
        return Err(GenerateError::Mismatch { tokenizer, model });
    }
    Ok(())
}

/// SplitMix64.
struct Random(u64);

impl Random {
    /// A number from 0 up to, not including, 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelConfig;
    use nn::Network;

    fn tokenizer() -> Tokenizer {
        Tokenizer::learn(&vec!["영화가 재밌다 good movie".to_owned(); 4], 300).unwrap()
    }

    fn model(vocab: usize) -> Model<Family> {
        let config = ModelConfig {
            vocab,
            width: 16,
            layers: 1,
            heads: 2,
            kv_heads: Some(1),
            hidden: 16,
            context: 24,
            tied: false,
            ..ModelConfig::default()
        };
        Model::new(Family::new(config).unwrap(), 3)
    }

    /// A model that says `token`, whatever it reads.
    fn parrot(vocab: usize, token: u32) -> Model<Family> {
        let mut model = model(vocab);
        let width = model.network.config().width;
        let layout = model.network.layout().clone();
        for tensor in &layout.tensors {
            let params = &mut model.params[tensor.range.clone()];
            match tensor.name.as_str() {
                "lm_head.weight" => {
                    params.fill(0.0);
                    params[token as usize * width..][..width].fill(1.0);
                }
                name if name.contains("embed") || name.contains("norm") => params.fill(1.0),
                _ => params.fill(0.0),
            }
        }
        model
    }

    #[test]
    fn it_ends_where_it_should() {
        let tokenizer = tokenizer();
        let token = |text: &str| tokenizer.encode(text).unwrap()[0];
        // What it repeats, the most tokens, and what comes out. The context of 24 takes the end before, a
        // beginning of two tokens, and 21 more; the 22nd is said without being read.
        let cases = [
            (token("a"), 5, "aaaaa".to_owned()),
            (token("a"), 100, "a".repeat(22)),
            (token("a"), 0, String::new()),
            (tokenizer.end(), 100, String::new()),
            (token("🎬"), 100, String::new()),
        ];
        for (token, max_tokens, expected) in cases {
            let model = parrot(tokenizer.vocab(), token);
            let config = GenerateConfig {
                temperature: 0.0,
                max_tokens,
                ..GenerateConfig::default()
            };
            assert_eq!(tokenizer.encode("bc").unwrap().len(), 2);
            assert_eq!(
                generate(&model, &tokenizer, "bc", &config, &mut |_| {}).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn a_seed_gives_a_text_and_any_text_is_whole() {
        let tokenizer = tokenizer();
        let model = model(tokenizer.vocab());
        let mut texts = Vec::new();
        for seed in 0..20 {
            let config = GenerateConfig {
                temperature: 1.5,
                top_p: 1.0,
                seed,
                ..GenerateConfig::default()
            };
            let text = generate(&model, &tokenizer, "영화", &config, &mut |_| {}).unwrap();
            assert_eq!(
                generate(&model, &tokenizer, "영화", &config, &mut |_| {}).unwrap(),
                text
            );
            assert!(!text.contains('\u{fffd}'), "{text:?}");
            texts.push(text);
        }
        texts.sort();
        texts.dedup();
        assert!(texts.len() > 15, "{texts:?}");
    }

    #[test]
    fn choice_follows_the_settings() {
        let logits = [1.0, 3.0, 3.0, -40.0, 2.0];
        let count = |temperature, top_p| {
            let config = GenerateConfig {
                temperature,
                top_p,
                ..GenerateConfig::default()
            };
            let mut counts = [0u32; 5];
            let mut random = Random(9);
            for _ in 0..4_000 {
                counts[config.choose(&logits, &mut random).unwrap() as usize] += 1;
            }
            counts
        };
        assert_eq!(
            count(0.0, 1.0),
            [0, 4_000, 0, 0, 0],
            "the likeliest; of two, the lower"
        );
        assert_eq!(count(1.0, 1e-6), [0, 4_000, 0, 0, 0]);
        let two = count(1.0, 0.7);
        assert!(
            two[1].abs_diff(2_000) < 150 && two[1] + two[2] == 4_000,
            "{two:?}"
        );
        // e^1, e^3, e^3, nothing, e^2 of their sum
        for (counted, expected) in count(1.0, 1.0).into_iter().zip([216, 1_598, 1_598, 0, 588u32]) {
            assert!(u32::abs_diff(counted, expected) < 150, "{counted} for {expected}");
        }
        let cold = count(f32::MIN_POSITIVE, 1.0);
        assert!(
            cold[1] + cold[2] == 4_000 && cold[1] > 0 && cold[2] > 0,
            "{cold:?}"
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        let tokenizer = tokenizer();
        let vocab = tokenizer.vocab();
        let good = GenerateConfig::default();
        let check = |model: &Model<Family>, beginning: &str, config: GenerateConfig, expected: &str| {
            let error = generate(model, &tokenizer, beginning, &config, &mut |_| {})
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        };
        let model = model(vocab);
        let bad = |temperature, top_p| GenerateConfig {
            temperature,
            top_p,
            ..good
        };
        check(&model, "", bad(f32::NAN, 1.0), "temperature is NaN");
        check(&model, "", bad(-1.0, 1.0), "temperature is -1");
        check(&model, "", bad(1.0, 0.0), "top_p is 0");
        check(&model, "", bad(1.0, 1.5), "top_p is 1.5");
        check(
            &model,
            &"b.".repeat(12),
            good,
            "24 tokens and the model takes 23 at most",
        );
        check(
            &self::model(vocab + 1),
            "",
            good,
            &format!("the tokeniser has {vocab} tokens and the model"),
        );
        let mut broken = model.clone();
        broken.params.fill(f32::NAN);
        check(&broken, "", good, "no number");
    }
}
