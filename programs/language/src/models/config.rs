//! The shape of a model: TOML fields, checks that name the field, and presets.

use nn::{Error, Heads, Router};
use serde::{Deserialize, Serialize};

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Which family.
    pub family: Architecture,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Size of the residual stream.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads. As many as query heads if nothing is
    /// said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Size of a head: `width / heads` if nothing is said. GPT-2 takes no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_size: Option<usize>,
    /// Inner size of the feed-forward layer, or of each expert.
    pub hidden: usize,
    /// The longest sequence.
    pub context: usize,
    /// Whether the head uses the embedding's weights.
    pub tied: bool,
    /// Whether linear layers have biases: GPT-2's do; the other families have none.
    pub bias: bool,
    /// Whether GPT-2's GELU is exact, or the formula with tanh that GPT-2 was published with.
    pub gelu_exact: bool,
    /// Base of the rotary angles.
    pub rope_base: f32,
    /// Added to a variance before its root.
    pub norm_eps: f32,
    /// Mixtral's experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<Experts>,
}

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// Learnt positions, LayerNorm, GELU.
    Gpt2,
    /// Rotary positions, RMSNorm, SwiGLU, grouped queries.
    #[default]
    Llama,
    /// Llama with experts.
    Mixtral,
}

/// A block's experts, and how they are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Experts {
    /// Experts in a block.
    pub count: usize,
    /// Experts that a token takes.
    pub top: usize,
    /// Tokens that an expert takes, as a multiple of an even share; more are dropped. Nothing said: none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<f32>,
    /// Whether the weights of a token's experts sum to 1.
    pub normalise: bool,
    /// Weight of the load-balancing loss.
    pub balance: f32,
    /// Weight of the loss that keeps the router's logits small.
    pub z: f32,
}

impl Default for ModelConfig {
    /// A model that trains in a minute or two on a laptop.
    fn default() -> Self {
        Self {
            family: Architecture::Llama,
            vocab: 4096,
            width: 192,
            layers: 4,
            heads: 6,
            kv_heads: None,
            head_size: None,
            hidden: 512,
            context: 128,
            tied: true,
            bias: true,
            gelu_exact: false,
            rope_base: 10_000.0,
            norm_eps: 1e-5,
            experts: None,
        }
    }
}

impl Default for Experts {
    fn default() -> Self {
        Self {
            count: 8,
            top: 2,
            capacity: None,
            normalise: true,
            balance: 0.01,
            z: 0.001,
        }
    }
}

impl Experts {
    pub(super) fn router(&self) -> Router {
        Router {
            top: self.top,
            capacity: self.capacity,
            normalise: self.normalise,
            balance: self.balance,
            z: self.z,
        }
    }
}

/// Names and texts of the presets.
pub fn presets() -> &'static [(&'static str, &'static str)] {
    macro_rules! presets {
        ($($name:literal),* $(,)?) => {
            &[$(($name, include_str!(concat!("../../presets/", $name, ".toml")))),*]
        };
    }
    presets![
        "tiny",
        "laptop",
        "gpt-s",
        "gpt-m",
        "moe-s",
        "gpt3-175b",
        "hyperclova-204b",
        "exaone-600b",
        "switch-1.6t",
        "wudao-1.75t",
    ]
}

impl ModelConfig {
    /// The preset of a name.
    pub fn preset(name: &str) -> Option<Self> {
        let (_, text) = presets().iter().find(|(preset, _)| *preset == name)?;
        Some(toml::from_str(text).expect("presets are tested"))
    }

    /// Size of one head.
    pub fn head_size(&self) -> usize {
        self.head_size.unwrap_or(self.width / self.heads.max(1))
    }

    /// Key and value heads.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    pub(super) fn heads_of(&self, t: usize) -> Heads {
        Heads {
            t,
            h: self.heads,
            k: self.kv_heads(),
            d: self.head_size(),
        }
    }

    /// Deviation of new weights that write to the residual stream, so that it doesn't grow with depth.
    pub(super) fn residual_spread(&self) -> f32 {
        0.02 / (2.0 * self.layers as f32).sqrt()
    }

    /// Parameters: all, and those that one token uses.
    pub fn param_counts(&self) -> (u64, u64) {
        let [v, c, l, f] = [self.vocab, self.width, self.layers, self.hidden].map(|x| x as u64);
        let [h, k, t] = [self.heads, self.kv_heads(), self.context].map(|x| x as u64);
        let d = self.head_size() as u64;
        let head = if self.tied { 0 } else { v * c };
        let attention = c * (h + 2 * k) * d + h * d * c;
        match self.family {
            Architecture::Gpt2 => {
                let biases = if self.bias { 3 * c + c + f + c } else { 0 };
                let all = v * c + t * c + l * (attention + 2 * c * f + 4 * c + biases) + 2 * c + head;
                (all, all)
            }
            Architecture::Llama => {
                let all = v * c + l * (attention + 3 * c * f + 2 * c) + c + head;
                (all, all)
            }
            Architecture::Mixtral => {
                let experts = self.experts.clone().unwrap_or_default();
                let count = |experts: u64, router: u64| {
                    v * c + l * (attention + experts * 3 * c * f + router * c + 2 * c) + c + head
                };
                let all = experts.count as u64;
                (count(all, all), count(experts.top as u64, all))
            }
        }
    }

    /// Floating-point operations of a training step for one token of a sequence of `seq`: 6 for each weight
    /// in a matrix product that it uses (2 forwards, 4 backwards) and 12 * h * d * (seq + 1) / 2 a layer for
    /// attention, of which a causal mask leaves half.
    pub fn flops_per_token(&self, seq: usize) -> f64 {
        let tables = match self.family {
            Architecture::Gpt2 => self.context * self.width,
            _ => 0,
        };
        let embedding = if self.tied { 0 } else { self.vocab * self.width };
        let matrices = self.param_counts().1 - (tables + embedding) as u64;
        6.0 * matrices as f64 + (6 * self.layers * self.heads * self.head_size() * (seq + 1)) as f64
    }

    /// Refuses a shape that can't be built, naming the field and what it may be.
    pub fn check(&self) -> Result<(), Error> {
        self.check_sizes()?;
        let d = self.head_size();
        let (head_rule, head_wanted) = match self.family {
            Architecture::Gpt2 => (
                self.heads * d == self.width && self.kv_heads() == self.heads,
                "gpt2 takes width / heads, and as many kv_heads as heads",
            ),
            _ => (
                d >= 2 && d.is_multiple_of(2),
                "it must be even, and width a multiple of heads where nothing is said",
            ),
        };
        let whole = self.head_size.is_some() || self.width.is_multiple_of(self.heads);
        let experts_fit = (self.family == Architecture::Mixtral) || self.experts.is_none();
        let rules = [
            (
                "heads",
                self.heads.to_string(),
                whole,
                format!("width {} must be a multiple of it", self.width),
            ),
            ("head_size", d.to_string(), head_rule, head_wanted.to_owned()),
            (
                "kv_heads",
                self.kv_heads().to_string(),
                self.heads.is_multiple_of(self.kv_heads()),
                format!("heads {} must be a multiple of it", self.heads),
            ),
            (
                "rope_base",
                self.rope_base.to_string(),
                self.rope_base.is_finite() && self.rope_base > 1.0,
                "it takes numbers above 1".into(),
            ),
            (
                "norm_eps",
                self.norm_eps.to_string(),
                self.norm_eps.is_finite() && self.norm_eps > 0.0,
                "it takes numbers above 0".into(),
            ),
            (
                "experts",
                "given".into(),
                experts_fit,
                "only the family mixtral has experts".into(),
            ),
        ];
        first_broken(rules)?;
        match &self.experts {
            Some(experts) => experts.check(),
            None => Ok(()),
        }
    }

    fn check_sizes(&self) -> Result<(), Error> {
        let sizes = [
            ("vocab", self.vocab, 2, 1 << 20),
            ("width", self.width, 2, 1 << 16),
            ("layers", self.layers, 1, 1 << 10),
            ("heads", self.heads, 1, 1 << 10),
            ("kv_heads", self.kv_heads(), 1, 1 << 10),
            ("head_size", self.head_size.unwrap_or(2), 1, 1 << 12),
            ("hidden", self.hidden, 1, 1 << 18),
            ("context", self.context, 1, 1 << 20),
        ];
        first_broken(sizes.map(|(field, value, least, most)| {
            let fits = (least..=most).contains(&value);
            (
                field,
                value.to_string(),
                fits,
                format!("it takes {least} to {most}"),
            )
        }))
    }
}

impl Experts {
    fn check(&self) -> Result<(), Error> {
        let weight = |x: f32| (0.0..=100.0).contains(&x);
        let capacity = self.capacity.unwrap_or(1.0);
        first_broken([
            (
                "experts.count",
                self.count.to_string(),
                (1..=1 << 14).contains(&self.count),
                "it takes 1 to 16384".to_owned(),
            ),
            (
                "experts.top",
                self.top.to_string(),
                (1..=self.count).contains(&self.top),
                "it takes 1 to experts.count".into(),
            ),
            (
                "experts.capacity",
                capacity.to_string(),
                capacity.is_finite() && capacity > 0.0,
                "it takes numbers above 0".into(),
            ),
            (
                "experts.balance",
                self.balance.to_string(),
                weight(self.balance),
                "it takes 0 to 100".into(),
            ),
            (
                "experts.z",
                self.z.to_string(),
                weight(self.z),
                "it takes 0 to 100".into(),
            ),
        ])
    }
}

/// An error for the first rule that doesn't hold: field, value, whether it holds, what is wanted.
fn first_broken<const N: usize>(rules: [(&'static str, String, bool, String); N]) -> Result<(), Error> {
    match rules.into_iter().find(|(_, _, holds, _)| !holds) {
        Some((field, value, _, wanted)) => Err(Error::Setting { field, value, wanted }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Family;
    use nn::Network;

    #[test]
    fn presets_are_what_their_names_say() {
        let sizes = [
            ("gpt3-175b", 175e9),
            ("hyperclova-204b", 204e9),
            ("exaone-600b", 600e9),
            ("switch-1.6t", 1.6e12),
            ("wudao-1.75t", 1.75e12),
        ];
        for (name, size) in sizes {
            let (all, _) = ModelConfig::preset(name).unwrap().param_counts();
            assert!((all as f64 / size - 1.0).abs() < 0.02, "{name}: {all}");
        }
        for (name, text) in presets() {
            let config = ModelConfig::preset(name).unwrap();
            config.check().unwrap();
            let said = text.contains("assumed");
            assert_eq!(
                said,
                ["hyperclova-204b", "exaone-600b", "switch-1.6t", "wudao-1.75t"].contains(name),
                "{name}"
            );
        }
    }

    #[test]
    fn parameters_are_counted_as_they_lie() {
        for name in ["tiny", "laptop", "gpt-s", "gpt-m", "moe-s"] {
            let config = ModelConfig::preset(name).unwrap();
            for config in [
                ModelConfig {
                    tied: !config.tied,
                    ..config.clone()
                },
                config,
            ] {
                let counted = config.param_counts().0;
                let family = Family::new(config).unwrap();
                assert_eq!(family.layout().len() as u64, counted, "{name}");
            }
        }
    }

    #[test]
    fn a_bad_shape_is_named() {
        let good = ModelConfig::default;
        let mixtral = |experts| ModelConfig {
            family: Architecture::Mixtral,
            experts: Some(experts),
            ..good()
        };
        let cases = [
            (
                ModelConfig { heads: 5, ..good() },
                "heads is 5: width 192 must be a multiple of it",
            ),
            (
                ModelConfig {
                    kv_heads: Some(4),
                    ..good()
                },
                "kv_heads is 4: heads 6 must be a multiple of it",
            ),
            (
                ModelConfig {
                    head_size: Some(3),
                    ..good()
                },
                "head_size is 3: it must be even",
            ),
            (
                ModelConfig { layers: 0, ..good() },
                "layers is 0: it takes 1 to 1024",
            ),
            (
                ModelConfig {
                    norm_eps: f32::NAN,
                    ..good()
                },
                "norm_eps is NaN",
            ),
            (
                ModelConfig {
                    experts: Some(Experts::default()),
                    ..good()
                },
                "only the family mixtral has experts",
            ),
            (
                mixtral(Experts {
                    top: 9,
                    ..Experts::default()
                }),
                "experts.top is 9: it takes 1 to experts.count",
            ),
            (
                mixtral(Experts {
                    capacity: Some(0.0),
                    ..Experts::default()
                }),
                "experts.capacity is 0",
            ),
        ];
        for (config, expected) in cases {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        good().check().unwrap();
    }
}
