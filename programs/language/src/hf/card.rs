//! The `README.md` of an exported model: what it is and how to load it, in Korean and in English.

use crate::{Architecture, END, ModelConfig};

/// What only its maker knows about a model. What isn't told isn't on the card.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// What it is called: the folder's name if nothing is said.
    pub name: Option<String>,
    /// What it was trained on.
    pub data: Option<String>,
    /// Its loss on text that it wasn't trained on, in nats a token.
    pub loss: Option<f64>,
    /// How far it may travel: `open` or `restricted`.
    pub label: Option<String>,
    /// Its licence, best by its SPDX identifier.
    pub licence: Option<String>,
}

/// The text of a card, for a model in the folder `name`.
pub(super) fn text(
    card: &Card,
    name: &str,
    config: &ModelConfig,
    zero_biases: bool,
    tokenizer: bool,
) -> String {
    let title = line(card.name.as_deref().unwrap_or(name));
    [
        front(card),
        format!("# {title}\n"),
        format!("{}\n", table(card, config)),
        format!("## 한국어\n\n{}", korean(config, zero_biases, tokenizer)),
        format!("## English\n\n{}", english(config, zero_biases, tokenizer)),
        format!("## 불러오기 · Loading\n\n{}", loading(name, tokenizer)),
    ]
    .join("\n")
}

/// What sites that list models read. They know licences by one lower-case word.
fn front(card: &Card) -> String {
    let licence = card.licence.as_deref().map(|licence| {
        let known = if line(licence).contains(' ') {
            "other"
        } else {
            licence
        };
        format!("license: {}\n", quoted(&known.to_lowercase()))
    });
    format!(
        "---\nlanguage: [ko, en]\nlibrary_name: transformers\npipeline_tag: text-generation\n{}---\n",
        licence.unwrap_or_default()
    )
}

fn table(card: &Card, config: &ModelConfig) -> String {
    let family = match config.family {
        Architecture::Gpt2 => "GPT-2",
        Architecture::Llama => "Llama",
        Architecture::Mixtral => "Mixtral",
    };
    let (all, active) = config.param_counts();
    let mut rows = vec![
        ("계열 · Family", family.to_owned()),
        ("매개변수 · Parameters", thousands(all)),
    ];
    if active != all {
        rows.push(("토큰당 매개변수 · Parameters for one token", thousands(active)));
    }
    let sizes = [
        ("층 · Layers", config.layers),
        ("폭 · Width", config.width),
        ("헤드 · Heads", config.heads),
        ("문맥 길이 · Context", config.context),
        ("어휘 · Vocabulary", config.vocab),
    ];
    rows.extend(sizes.map(|(what, size)| (what, thousands(size as u64))));
    let loss = card.loss.map(|nats| {
        let perplexity = nats.exp();
        format!("{nats:.4} nats/token (perplexity {perplexity:.2})")
    });
    let told = [
        ("학습 데이터 · Data", card.data.as_deref().map(line)),
        ("검증 손실 · Validation loss", loss),
        ("공개 등급 · Label", card.label.as_deref().map(label)),
        ("라이선스 · Licence", card.licence.as_deref().map(line)),
    ];
    rows.extend(told.into_iter().filter_map(|(what, said)| Some((what, said?))));
    let rows: Vec<String> = rows
        .iter()
        .map(|(what, said)| format!("| {what} | {} |", said.replace('|', "\\|")))
        .collect();
    format!("| | |\n|---|---|\n{}", rows.join("\n"))
}

fn korean(config: &ModelConfig, zero_biases: bool, tokenizer: bool) -> String {
    let mut text = format!(
        "khub에서 내보낸 언어 모델입니다. 한 번에 토큰 {}개까지 읽습니다.\n",
        config.context
    );
    if tokenizer {
        text += &format!(
            "문서는 `{END}` 뒤에서 시작하고 `{END}`로 끝나므로, 글 앞에 `{END}`를 붙이면 학습한 것과 같아집니다.\n"
        );
    }
    if zero_biases {
        text += "이 모델의 선형층에는 편향이 없습니다. transformers의 GPT-2에는 반드시 있으므로 0으로 채웠고, \
                 계산 결과는 같습니다.\n";
    }
    text
}

fn english(config: &ModelConfig, zero_biases: bool, tokenizer: bool) -> String {
    let mut text = format!(
        "A language model, exported from khub. It reads up to {} tokens at a time.\n",
        config.context
    );
    if tokenizer {
        text += &format!(
            "A document begins after `{END}` and ends with it: put `{END}` before a text, as in training.\n"
        );
    }
    if zero_biases {
        text += "The model's linear layers have no biases. transformers has no GPT-2 without, so they are \
                 there and zero, which computes the same.\n";
    }
    text
}

fn loading(name: &str, tokenizer: bool) -> String {
    let folder = quoted(name);
    let (import, open) = match tokenizer {
        true => (
            ", AutoTokenizer",
            format!("tokenizer = AutoTokenizer.from_pretrained({folder})\n"),
        ),
        false => ("", String::new()),
    };
    format!(
        "```python\nfrom transformers import AutoModelForCausalLM{import}\n\
         model = AutoModelForCausalLM.from_pretrained({folder})\n{open}```\n"
    )
}

/// The glossary's words for a label; another is told as it is.
fn label(label: &str) -> String {
    match label {
        "open" => "공개 · open".into(),
        "restricted" => "제한 · restricted".into(),
        other => line(other),
    }
}

/// On one line, whatever was told.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// In quotes that YAML and Python read alike.
fn quoted(text: &str) -> String {
    serde_json::to_string(&line(text)).expect("a text is plain data")
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| str::from_utf8(group).expect("digits"))
        .collect();
    groups.join(",")
}
