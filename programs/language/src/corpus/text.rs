//! Documents of text: a table's cells, paragraphs or lines.

use super::CorpusError;
use super::content::{is_blank, letters};
use super::files::has_ending;
use std::cmp::Reverse;
use std::path::Path;

/// Lines a paragraph may have on average.
const PARAGRAPH_LINES: usize = 12;

/// What the documents of `text` are cut from: a table's cells, paragraphs or lines.
pub(super) fn rows<'a>(file: &Path, text: &'a str, field: Option<&str>) -> Result<Vec<&'a str>, CorpusError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Ok(match column(file, text, field)? {
        Some(column) => column,
        None => paragraphs_or_lines(text),
    })
}

/// The text column of a table; None for what is no table.
fn column<'a>(file: &Path, text: &'a str, field: Option<&str>) -> Result<Option<Vec<&'a str>>, CorpusError> {
    let lines = || text.lines().enumerate().filter(|(_, line)| !line.is_empty());
    let cells = |line: &str| line.split('\t').count();
    let wanted = lines().next().map_or(1, |(_, line)| cells(line));
    let odd = lines().find(|(_, line)| cells(line) != wanted);
    let called_table = has_ending(file, &["tsv"]);
    match odd {
        Some((index, line)) if called_table => {
            return Err(CorpusError::Columns {
                path: file.to_owned(),
                line: index + 1,
                columns: cells(line),
                wanted,
            });
        }
        Some(_) => return Ok(None),
        None if wanted == 1 => return Ok(None),
        None => {}
    }
    let mut rows: Vec<Vec<&str>> = lines().map(|(_, line)| line.split('\t').collect()).collect();
    let text_column = match field {
        // A table that has to have a column of that name has its names in the first row.
        Some(field) => named(file, &rows.remove(0), field)?,
        None => {
            if rows.len() > 1 && has_header(&rows) {
                rows.remove(0);
            }
            let of = |column: usize| rows.iter().map(|row| letters(row[column])).sum::<u64>();
            // The first of several with as many.
            let best = (0..wanted).max_by_key(|&column| (of(column), Reverse(column)));
            best.expect("a table has two columns at least")
        }
    };
    Ok(Some(rows.iter().map(|row| row[text_column]).collect()))
}

/// Which of a table's columns is called `field`.
fn named(file: &Path, head: &[&str], field: &str) -> Result<usize, CorpusError> {
    let found = head.iter().position(|name| name.trim() == field);
    found.ok_or_else(|| CorpusError::NoField {
        place: format!("{} line 1", file.display()),
        field: field.to_owned(),
        has: head.iter().map(ToString::to_string).collect(),
    })
}

/// A first row is a header if it has a word where every other row has a number.
fn has_header(rows: &[Vec<&str>]) -> bool {
    let is_number = |cell: &str| cell.trim().parse::<f64>().is_ok();
    let (first, others) = (&rows[0], &rows[1..]);
    (0..first.len())
        .any(|column| !is_number(first[column]) && others.iter().all(|row| is_number(row[column])))
}

fn paragraphs_or_lines(text: &str) -> Vec<&str> {
    let paragraphs = paragraphs(text);
    let lines: Vec<&str> = text.lines().filter(|line| !is_blank(line)).collect();
    if paragraphs.len() > 1 && paragraphs.len() * PARAGRAPH_LINES >= lines.len() {
        paragraphs
    } else {
        lines
    }
}

/// What stands between blank lines.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut paragraphs = Vec::new();
    let (mut start, mut end) = (0, 0);
    for line in text.split_inclusive('\n') {
        let next = end + line.len();
        if is_blank(line) {
            paragraphs.push(&text[start..end]);
            start = next;
        }
        end = next;
    }
    paragraphs.push(&text[start..end]);
    let inside = paragraphs.into_iter().filter(|paragraph| !is_blank(paragraph));
    inside
        .map(|paragraph| paragraph.trim_end_matches(['\r', '\n']))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::content::Content;
    use super::*;

    fn documents(name: &str, text: &str) -> Vec<String> {
        let content = Content::of(Path::new(name), text.to_owned(), None).unwrap();
        let documents = content.documents(Path::new(name), None).unwrap();
        documents.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn documents_are_found_whatever_the_form() {
        let header = "id\tdocument\tlabel\n1\t좋다\t1\n2\t별로 one\t0\n";
        let cases: [(&str, &str, &[&str]); 16] = [
            ("a.txt", "one\ntwo\n\nthree\n", &["one\ntwo", "three"]),
            ("a.txt", "one\r\ntwo\r\n \r\nthree", &["one\r\ntwo", "three"]),
            ("a.txt", "one\ntwo\nthree\n\n", &["one", "two", "three"]),
            ("a.txt", "\u{feff}one\r\n\r\n", &["one"]),
            ("a.txt", "  one \n\u{3000}\n two", &["  one ", " two"]),
            ("a.txt", "", &[]),
            ("a.txt", " \n\t\n", &[]),
            ("nsmc.tsv", "10\t좋다\n1\t나쁘다 very\n", &["좋다", "나쁘다 very"]),
            ("table.txt", "10\t좋다\n1\t나쁘다\n", &["좋다", "나쁘다"]),
            ("ratings_train.txt", header, &["좋다", "별로 one"]),
            ("no table.txt", "a\tb\nc\n", &["a\tb", "c"]),
            ("one column.tsv", "좋다\n나쁘다\n", &["좋다", "나쁘다"]),
            (
                "gaps.tsv",
                "1\t좋다\r\n\r\n2\t\r\n3\t나쁘다\r\n",
                &["좋다", "나쁘다"],
            ),
            ("one row.tsv", "rating\ttext here", &["text here"]),
            (
                "words.tsv",
                "good\tit was\nbad\tit was not",
                &["it was", "it was not"],
            ),
            ("last.tsv", "ab\tcd\ne\tf", &["ab", "e"]),
        ];
        for (name, text, expected) in cases {
            assert_eq!(documents(name, text), expected, "{name} {text:?}");
        }
    }

    #[test]
    fn a_blank_line_now_and_then_makes_no_paragraphs() {
        let mut text = "a line\n".repeat(40);
        text.insert(70, '\n');
        assert_eq!(documents("a", &text).len(), 40);
    }
}
