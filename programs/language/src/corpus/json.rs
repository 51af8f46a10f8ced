//! JSON lines: an object in each, one field of which is the text.

use super::CorpusError;
use super::content::{Rows, TEXT_FIELDS, is_blank, letters};
use super::files::at;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// How such files' names end.
pub(super) const ENDINGS: [&str; 3] = ["jsonl", "ndjson", "json"];

/// The texts of `text`'s lines. A line whose text is `null` has none; blank lines are left out.
pub(super) fn rows(path: &Path, text: &str, field: Option<&str>) -> Result<Rows, CorpusError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let numbered = (1..).zip(text.lines());
    let lines = numbered
        .filter(|(_, text)| !is_blank(text))
        .map(|(number, text)| Line { path, number, text });
    let field = match field {
        Some(field) => field.to_owned(),
        None => best_field(lines.clone())?,
    };
    let mut rows = Rows::default();
    for line in lines {
        let object = line.object()?;
        let value = object.get(&field).ok_or_else(|| line.lacks(&field, &object))?;
        if value.get() != "null" {
            rows.push(&line.string(value)?);
        }
    }
    Ok(rows)
}

/// Whether the first line of the file is a whole object.
pub(super) fn begins_with_object(path: &Path) -> Result<bool, CorpusError> {
    /// Longer lines are no line of a data set that anyone would call `.json`.
    const LONGEST_LINE: u64 = 1 << 24;
    let file = File::open(path).map_err(at(path))?;
    let mut first = Vec::new();
    let mut reader = BufReader::new(file).take(LONGEST_LINE);
    reader.read_until(b'\n', &mut first).map_err(at(path))?;
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&first);
    Ok(serde_json::from_slice::<BTreeMap<String, &RawValue>>(first).is_ok())
}

/// Which field is the text: one with a name that says so, else the one with most letters.
fn best_field<'a>(mut lines: impl Iterator<Item = Line<'a>> + Clone) -> Result<String, CorpusError> {
    let all = lines.clone();
    let Some(first) = lines.next() else {
        return Ok(String::new());
    };
    let first_object = first.object()?;
    let is_text = |value: &&RawValue| value.get().starts_with('"');
    if let Some(name) = TEXT_FIELDS
        .iter()
        .find(|name| first_object.get(**name).is_some_and(is_text))
    {
        return Ok((*name).to_owned());
    }
    let mut fields: BTreeMap<String, u64> = BTreeMap::new();
    for line in all {
        for (name, value) in line.object()?.into_iter().filter(|(_, value)| is_text(value)) {
            *fields.entry(name).or_default() += letters(&line.string(value)?);
        }
    }
    let named = TEXT_FIELDS.iter().find(|name| fields.contains_key(**name));
    if let Some(name) = named {
        return Ok((*name).to_owned());
    }
    // The first of several with as many.
    let best = fields.into_iter().rev().max_by_key(|(_, letters)| *letters);
    best.map(|(name, _)| name)
        .ok_or_else(|| first.lacks("", &first_object))
}

/// A line of a file.
struct Line<'a> {
    path: &'a Path,
    /// Counts from 1.
    number: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// The fields, each as it is written.
    fn object(&self) -> Result<BTreeMap<String, &'a RawValue>, CorpusError> {
        let start = self.text.len() - self.text.trim_start().len();
        let found = kind(&self.text[start..]);
        if found != "an object" {
            let what = match found {
                "a list" => {
                    "a list was found: `jq -c '.[]' FILE` writes its objects in a line each".to_owned()
                }
                _ => format!("{found} was found where an object such as {{\"text\": \"...\"}} belongs"),
            };
            return Err(self.wrong(start, what));
        }
        serde_json::from_str(self.text).map_err(|error| self.unreadable(0, &error))
    }

    /// The string that `value`, a part of this line, is.
    fn string(&self, value: &RawValue) -> Result<String, CorpusError> {
        let start = value.get().as_ptr() as usize - self.text.as_ptr() as usize;
        let found = kind(value.get());
        if found != "a string" {
            let what = format!("{found} was found where the text belongs; --text-field names another field");
            return Err(self.wrong(start, what));
        }
        serde_json::from_str(value.get()).map_err(|error| self.unreadable(start, &error))
    }

    /// No field is called `field`.
    fn lacks(&self, field: &str, object: &BTreeMap<String, &RawValue>) -> CorpusError {
        let described = |(name, value): (&String, &&RawValue)| format!("{name:?} ({})", kind(value.get()));
        CorpusError::NoField {
            place: format!("{} line {}, column 1,", self.path.display(), self.number),
            field: field.to_owned(),
            has: object.iter().map(described).collect(),
        }
    }

    /// What serde says of the text from byte `start` on.
    fn unreadable(&self, start: usize, error: &serde_json::Error) -> CorpusError {
        if error.is_eof() {
            let what = "the line ends within its object: `jq -c . FILE` writes each object in one line";
            return self.wrong(self.text.len(), what.to_owned());
        }
        let place = format!(" at line {} column {}", error.line(), error.column());
        let what = error.to_string();
        let what = what.strip_suffix(&place).unwrap_or(&what).to_owned();
        self.wrong(start + error.column().saturating_sub(1), what)
    }

    fn wrong(&self, byte: usize, what: String) -> CorpusError {
        let starts = self.text.char_indices().map(|(start, _)| start);
        CorpusError::Json {
            path: self.path.to_owned(),
            line: self.number,
            column: 1 + starts.take_while(|&start| start < byte).count(),
            what,
        }
    }
}

/// What the value that begins like this would be.
fn kind(json: &str) -> &'static str {
    match json.bytes().next() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b'-' | b'0'..=b'9') => "a number",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str, field: Option<&str>) -> Result<Vec<String>, String> {
        let rows = rows(Path::new("a.jsonl"), text, field).map_err(|error| error.to_string())?;
        Ok(rows.iter().map(str::to_owned).collect())
    }

    #[test]
    fn the_text_is_found_in_its_field() {
        let cases: [(&str, Option<&str>, &[&str]); 9] = [
            (
                "{\"text\":\"하나\"}\n{\"text\":\"둘\\n셋\"}\n",
                None,
                &["하나", "둘\n셋"],
            ),
            ("\u{feff}{\"id\":\"longer\",\"text\":\"a\"}\r\n\r\n", None, &["a"]),
            ("{\"content\":\"a\",\"document\":\"b\"}", None, &["b"]),
            (
                "{\"a\":\"12\",\"b\":\"x\"}\n{\"a\":\"x\",\"b\":\"yy\"}",
                None,
                &["x", "yy"],
            ),
            ("{\"b\":\"yy\",\"a\":\"xx\"}", None, &["xx"]),
            (
                "{\"text\":null,\"b\":\"long\"}\n{\"text\":\"a\",\"b\":\"longer\"}",
                None,
                &["a"],
            ),
            ("{\"text\":\"a\",\"b\":\"c\"}", Some("b"), &["c"]),
            (
                "{\"n\":[1,{\"text\":\"x\"}],\"big\":1e999,\"t\\u0065xt\":\"\\ud55c\"}",
                None,
                &["한"],
            ),
            (" \n", None, &[]),
        ];
        for (text, field, expected) in cases {
            assert_eq!(texts(text, field).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let good = "{\"text\":\"영화\"}\n";
        let cases = [
            (
                "[{\"text\":\"a\"}]",
                None,
                "a.jsonl line 1, column 1: a list was found: `jq -c '.[]'",
            ),
            (
                "{\n \"text\": 1\n}",
                None,
                "line 1, column 2: the line ends within its object: `jq -c . FILE`",
            ),
            (
                &format!("{good}  영화"),
                None,
                "line 2, column 3: something else was found where an object",
            ),
            (
                &format!("{good}\n{{\"text\":7}}"),
                None,
                "line 3, column 9: a number was found where the text",
            ),
            (
                &format!("{good}{{\"영화\":\"\\x\"}}"),
                None,
                "line 2, column 9: invalid escape",
            ),
            (
                &format!("{good}{{\"text\":\"영\\ud800\"}}"),
                None,
                "line 2, column ",
            ),
            (
                &format!("{good}{{\"text\":\"a\"}} x"),
                None,
                "line 2, column 14: trailing characters",
            ),
            (
                &format!("{good}{{\"body\":[]}}"),
                None,
                "line 2, column 1, has no field \"text\": it has \"body\" (a list)",
            ),
            (
                "{\"a\":1}",
                None,
                "line 1, column 1, has no field of text: it has \"a\" (a number); --text-field",
            ),
            ("{}", Some("b"), "has no field \"b\": it has none"),
        ];
        for (text, field, expected) in cases {
            let error = texts(text, field).unwrap_err();
            assert!(error.contains(expected), "{error}\n{expected}");
        }
    }
}
