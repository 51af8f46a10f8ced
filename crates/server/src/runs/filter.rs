//! Which runs are asked for, and in which order, in MLflow's words:
//!
//! ```text
//! metrics.loss < 0.5 AND params.optimiser = 'adamw' AND tags.`my note` LIKE '%warm%' AND attributes.status IN ('FINISHED')
//! metrics.loss ASC, start_time DESC
//! ```
//!
//! What is asked is asked of the runs that one may read and of no others, so an answer tells nothing of those.

use api::Problem;
use std::cmp::Ordering;

/// A filter's or an order's length, bytes; and how many clauses it has.
const LONGEST: usize = 8_000;
const MOST_CLAUSES: usize = 30;

/// What has to hold; all of it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Filter(Vec<Clause>);

/// In which order, the first first.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Order(Vec<(Column, Way)>);

#[derive(Debug, PartialEq)]
struct Clause {
    column: Column,
    test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Up,
    Down,
}

/// Something that a run has, or hasn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Column {
    /// The newest point under a name.
    Metric(String),
    /// A parameter.
    Param(String),
    /// A tag.
    Tag(String),
    /// What every run has.
    Attribute(Attribute),
}

/// What every run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    /// Its name.
    Id,
    /// What people call it.
    Name,
    /// Who began it.
    User,
    /// `RUNNING`, `FINISHED`, ...
    Status,
    /// Where its files are.
    Files,
    /// When it began.
    Started,
    /// When it ended.
    Ended,
}

#[derive(Debug, PartialEq)]
enum Test {
    Number(Comparison, f64),
    Is(String),
    Differs(String),
    Like(Pattern),
    In(Vec<String>),
    NotIn(Vec<String>),
    Missing,
    There,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    AtMost,
    Equal,
    Differs,
    AtLeast,
    More,
}

/// What a row of the search answers.
pub(crate) trait Row {
    /// The text there.
    fn text(&self, column: &Column) -> Option<String>;
    /// The number there.
    fn number(&self, column: &Column) -> Option<f64>;
}

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let mut tokens = Tokens::of(text)?;
        let mut clauses = Vec::new();
        if tokens.is_over() {
            return Ok(Self(clauses));
        }
        loop {
            clauses.push(tokens.clause()?);
            if tokens.is_over() {
                break;
            }
            if !tokens.takes_word("AND") {
                return Err(tokens.wrong("AND, or the end"));
            }
            if clauses.len() == MOST_CLAUSES {
                return Err(malformed(format!("a filter has {MOST_CLAUSES} clauses at most")));
            }
        }
        Ok(Self(clauses))
    }

    pub(crate) fn takes(&self, row: &impl Row) -> bool {
        self.0.iter().all(|clause| clause.holds(row))
    }

    /// The metrics that it asks of.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|clause| clause.column.metric())
    }
}

impl Order {
    pub(crate) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, Problem> {
        let mut order = Vec::new();
        for text in texts {
            let mut tokens = Tokens::of(text)?;
            while !tokens.is_over() {
                let column = tokens.column()?;
                let way = match tokens.takes_word("DESC") {
                    true => Way::Down,
                    false => {
                        tokens.takes_word("ASC");
                        Way::Up
                    }
                };
                order.push((column, way));
                if !tokens.takes(&Token::Sign(",")) && !tokens.is_over() {
                    return Err(tokens.wrong("ASC, DESC, a comma or the end"));
                }
                if order.len() > MOST_CLAUSES {
                    return Err(malformed(format!("an order has {MOST_CLAUSES} parts at most")));
                }
            }
        }
        Ok(Self(order))
    }

    /// Rows without a value come last, whichever way; before them those that aren't numbers.
    pub(crate) fn compare(&self, a: &impl Row, b: &impl Row) -> Ordering {
        let mut parts = self.0.iter().map(|(column, way)| {
            if column.is_number() {
                let (a, b) = (a.number(column), b.number(column));
                let rank = |value: Option<f64>| value.map_or(2, |value| u8::from(value.is_nan()));
                let values = || a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                rank(a).cmp(&rank(b)).then_with(|| way.turn(values()))
            } else {
                let (a, b) = (a.text(column), b.text(column));
                a.is_none().cmp(&b.is_none()).then_with(|| way.turn(a.cmp(&b)))
            }
        });
        parts.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The metrics that it asks of.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|(column, _)| column.metric())
    }
}

impl Way {
    fn turn(self, order: Ordering) -> Ordering {
        match self {
            Self::Up => order,
            Self::Down => order.reverse(),
        }
    }
}

impl Column {
    fn of(kind: Option<&str>, key: String) -> Result<Self, Problem> {
        match kind {
            Some("metric" | "metrics") => Ok(Self::Metric(key)),
            Some("param" | "params" | "parameter" | "parameters") => Ok(Self::Param(key)),
            Some("tag" | "tags") => Ok(Self::Tag(key)),
            None | Some("attribute" | "attributes" | "attr" | "run") => {
                Ok(Self::Attribute(match key.as_str() {
                    "run_id" => Attribute::Id,
                    "run_name" | "run name" | "Run name" | "Run Name" => Attribute::Name,
                    "user_id" => Attribute::User,
                    "status" => Attribute::Status,
                    "artifact_uri" => Attribute::Files,
                    "start_time" | "created" | "Created" => Attribute::Started,
                    "end_time" => Attribute::Ended,
                    _ => {
                        let known = "run_id, run_name, user_id, status, artifact_uri, start_time, end_time";
                        let why = format!("a run has no attribute {:?}", short(&key));
                        return Err(malformed(why).hint(format!(
                            "attributes are {known}; others are metrics.X, params.X and tags.X"
                        )));
                    }
                }))
            }
            Some(kind) => {
                let why = format!("{:?} is nothing that runs are found by", short(kind));
                Err(malformed(why).hint("metrics.X, params.X, tags.X or attributes.X; datasets aren't there"))
            }
        }
    }

    fn is_number(&self) -> bool {
        matches!(
            self,
            Self::Metric(_) | Self::Attribute(Attribute::Started | Attribute::Ended)
        )
    }

    fn metric(&self) -> Option<&str> {
        match self {
            Self::Metric(key) => Some(key),
            _ => None,
        }
    }
}

impl Clause {
    fn holds(&self, row: &impl Row) -> bool {
        if let Test::Number(comparison, wanted) = &self.test {
            let value = row.number(&self.column);
            return value.is_some_and(|value| comparison.holds(value, *wanted));
        }
        let text = row.text(&self.column);
        match &self.test {
            Test::Missing => text.is_none(),
            Test::There => text.is_some(),
            test => text.is_some_and(|text| test.takes(&text)),
        }
    }
}

impl Test {
    fn takes(&self, text: &str) -> bool {
        let among = |all: &[String]| all.iter().any(|it| it == text);
        match self {
            Self::Is(wanted) => text == wanted,
            Self::Differs(wanted) => text != wanted,
            Self::Like(pattern) => pattern.takes(text),
            Self::In(all) => among(all),
            Self::NotIn(all) => !among(all),
            Self::There => true,
            Self::Number(..) | Self::Missing => false,
        }
    }
}

/// Which projects are asked for: `name LIKE 'korean%'`.
pub(crate) struct Named(Vec<Test>);

impl Named {
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let mut tokens = Tokens::of(text)?;
        let mut tests = Vec::new();
        while !tokens.is_over() {
            let names = ["name", "attribute.name", "attributes.name", "experiment_id"];
            if !names.iter().any(|name| tokens.takes_word(name)) {
                return Err(tokens.wrong("name"));
            }
            tests.push(tokens.test(&Column::Attribute(Attribute::Name))?);
            if !tokens.takes_word("AND") && !tokens.is_over() {
                return Err(tokens.wrong("AND, or the end"));
            }
        }
        Ok(Self(tests))
    }

    pub(crate) fn takes(&self, name: &str) -> bool {
        self.0.iter().all(|test| test.takes(name))
    }
}

impl Comparison {
    fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Self::Less => a < b,
            Self::AtMost => a <= b,
            Self::Equal => a == b,
            Self::Differs => a != b,
            Self::AtLeast => a >= b,
            Self::More => a > b,
        }
    }
}

/// A text with `%` for any letters and `_` for one.
#[derive(Debug, PartialEq)]
struct Pattern {
    letters: Vec<char>,
    any_case: bool,
}

impl Pattern {
    fn new(text: &str, any_case: bool) -> Self {
        let text = if any_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        };
        Self {
            letters: text.chars().collect(),
            any_case,
        }
    }

    /// From left to right; where letters don't fit, the last `%` takes one more.
    fn takes(&self, text: &str) -> bool {
        let text = if self.any_case {
            text.to_lowercase()
        } else {
            text.to_owned()
        };
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut of) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.letters.get(of) {
                Some('%') => {
                    star = Some((of + 1, at));
                    of += 1;
                }
                Some(letter) if *letter == '_' || *letter == text[at] => {
                    at += 1;
                    of += 1;
                }
                _ => {
                    let Some((after, taken)) = star else { return false };
                    star = Some((after, taken + 1));
                    (of, at) = (after, taken + 1);
                }
            }
        }
        self.letters[of..].iter().all(|letter| *letter == '%')
    }
}

// ---- reading ---------------------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name without quotes, dots and all.
    Word(String),
    /// In single quotes.
    Text(String),
    /// In backticks or double quotes: a name, or a text.
    Quoted(String),
    Number(f64),
    Sign(&'static str),
}

const SIGNS: [&str; 10] = ["<=", ">=", "!=", "<>", "==", "<", ">", "=", "(", ")"];

struct Tokens {
    all: Vec<Token>,
    next: usize,
}

impl Tokens {
    fn of(text: &str) -> Result<Self, Problem> {
        if text.len() > LONGEST {
            return Err(malformed(format!(
                "a filter or an order has {LONGEST} bytes at most"
            )));
        }
        let mut all = Vec::new();
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let (token, after) = match first {
                '\'' | '"' | '`' => {
                    let (inner, after) = quoted(&rest[1..], first)?;
                    let token = if first == '\'' {
                        Token::Text(inner)
                    } else {
                        Token::Quoted(inner)
                    };
                    (token, after)
                }
                ',' => (Token::Sign(","), &rest[1..]),
                _ if is_number(rest) => number(rest)?,
                _ if is_letter(first) => {
                    let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
                    (Token::Word(rest[..end].to_owned()), &rest[end..])
                }
                _ => {
                    let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
                    let sign =
                        sign.ok_or_else(|| malformed(format!("{:?} has no meaning here", short(rest))))?;
                    (Token::Sign(sign), &rest[sign.len()..])
                }
            };
            all.push(token);
            rest = after.trim_start();
        }
        Ok(Self { all, next: 0 })
    }

    fn is_over(&self) -> bool {
        self.next >= self.all.len()
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.all.get(self.next).cloned();
        self.next += 1;
        token
    }

    fn takes(&mut self, token: &Token) -> bool {
        let is = self.all.get(self.next) == Some(token);
        self.next += usize::from(is);
        is
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let next = self.all.get(self.next);
        let is = matches!(next, Some(Token::Word(it)) if it.eq_ignore_ascii_case(word));
        self.next += usize::from(is);
        is
    }

    fn wrong(&self, wanted: &str) -> Problem {
        let found = match self.all.get(self.next) {
            None => "the end".to_owned(),
            Some(Token::Word(text) | Token::Quoted(text)) => format!("{:?}", short(text)),
            Some(Token::Text(text)) => format!("the text {:?}", short(text)),
            Some(Token::Number(number)) => number.to_string(),
            Some(Token::Sign(sign)) => (*sign).to_owned(),
        };
        malformed(format!("{found} stands where {wanted} is wanted"))
            .hint("as in metrics.loss < 0.5 AND params.`my name` = 'x'; OR isn't there")
    }

    /// `kind.key`, `kind.`key``, or an attribute alone.
    fn column(&mut self) -> Result<Column, Problem> {
        let wanted = "a name as metrics.loss";
        match self.all.get(self.next).cloned() {
            Some(Token::Word(word)) => {
                self.next += 1;
                if let Some(kind) = word.strip_suffix('.') {
                    let Some(Token::Quoted(key)) = self.all.get(self.next).cloned() else {
                        return Err(self.wrong("a name in backticks"));
                    };
                    self.next += 1;
                    return Column::of(Some(kind), key);
                }
                match word.split_once('.') {
                    Some((kind, key)) => Column::of(Some(kind), key.to_owned()),
                    None => Column::of(None, word),
                }
            }
            Some(Token::Quoted(key)) => {
                self.next += 1;
                Column::of(None, key)
            }
            _ => Err(self.wrong(wanted)),
        }
    }

    fn clause(&mut self) -> Result<Clause, Problem> {
        let column = self.column()?;
        let test = self.test(&column)?;
        Ok(Clause { column, test })
    }

    fn test(&mut self, column: &Column) -> Result<Test, Problem> {
        let may_miss = matches!(column, Column::Param(_) | Column::Tag(_));
        if may_miss && self.takes_word("IS") {
            let test = if self.takes_word("NOT") {
                Test::There
            } else {
                Test::Missing
            };
            return if self.takes_word("NULL") {
                Ok(test)
            } else {
                Err(self.wrong("NULL"))
            };
        }
        if column.is_number() {
            let comparison = self.comparison()?;
            let at = self.next;
            let Some(Token::Number(number)) = self.take() else {
                self.next = at;
                return Err(self.wrong("a number"));
            };
            return Ok(Test::Number(comparison, number));
        }
        let listed = matches!(column, Column::Attribute(_));
        if listed && self.takes_word("IN") {
            return Ok(Test::In(self.texts()?));
        }
        if listed && self.takes_word("NOT") {
            return if self.takes_word("IN") {
                Ok(Test::NotIn(self.texts()?))
            } else {
                Err(self.wrong("IN"))
            };
        }
        if self.takes_word("LIKE") {
            return Ok(Test::Like(Pattern::new(&self.text()?, false)));
        }
        if self.takes_word("ILIKE") {
            return Ok(Test::Like(Pattern::new(&self.text()?, true)));
        }
        let at = self.next;
        match self.comparison()? {
            Comparison::Equal => Ok(Test::Is(self.text()?)),
            Comparison::Differs => Ok(Test::Differs(self.text()?)),
            _ => {
                self.next = at;
                Err(self.wrong("=, !=, LIKE or ILIKE"))
            }
        }
    }

    fn comparison(&mut self) -> Result<Comparison, Problem> {
        let comparison = match self.all.get(self.next) {
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::AtMost,
            Some(Token::Sign("=" | "==")) => Comparison::Equal,
            Some(Token::Sign("!=" | "<>")) => Comparison::Differs,
            Some(Token::Sign(">=")) => Comparison::AtLeast,
            Some(Token::Sign(">")) => Comparison::More,
            _ => return Err(self.wrong("a comparison")),
        };
        self.next += 1;
        Ok(comparison)
    }

    fn text(&mut self) -> Result<String, Problem> {
        match self.all.get(self.next).cloned() {
            Some(Token::Text(text) | Token::Quoted(text)) => {
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.wrong("a text in quotes")),
        }
    }

    fn texts(&mut self) -> Result<Vec<String>, Problem> {
        if !self.takes(&Token::Sign("(")) {
            return Err(self.wrong("("));
        }
        let mut texts = vec![self.text()?];
        while self.takes(&Token::Sign(",")) {
            texts.push(self.text()?);
        }
        if !self.takes(&Token::Sign(")")) {
            return Err(self.wrong(") or a comma"));
        }
        Ok(texts)
    }
}

/// What stands before the closing quote, in which a doubled one is one; and what comes after.
fn quoted(text: &str, quote: char) -> Result<(String, &str), Problem> {
    let mut inner = String::new();
    let mut rest = text;
    loop {
        let Some((before, after)) = rest.split_once(quote) else {
            return Err(malformed(format!("a {quote} has no other at its end")));
        };
        inner.push_str(before);
        rest = after;
        match rest.strip_prefix(quote) {
            Some(after) => {
                inner.push(quote);
                rest = after;
            }
            None => return Ok((inner, rest)),
        }
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ':')
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+', '.']);
    let signs = text.len() - digits.len();
    signs <= 2 && digits.starts_with(|c: char| c.is_ascii_digit())
}

fn number(text: &str) -> Result<(Token, &str), Problem> {
    let mut end = 0;
    for (at, c) in text.char_indices() {
        let exponent = matches!(text[..at].chars().next_back(), Some('e' | 'E'));
        let sign = matches!(c, '-' | '+') && (at == 0 || exponent);
        if !(c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || sign) {
            break;
        }
        end = at + 1;
    }
    let read = text[..end].parse::<f64>();
    let number = read.map_err(|_| malformed(format!("{:?} is no number", short(text))))?;
    let next = text[end..].chars().next();
    if next.is_some_and(is_letter) {
        return Err(malformed(format!("{:?} is no number", short(text))));
    }
    Ok((Token::Number(number), &text[end..]))
}

fn malformed(why: String) -> Problem {
    Problem::new(422, "invalid", why)
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
