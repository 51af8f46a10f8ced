//! Tables, JSON and numbers for the terminal.

use crate::failure::Failure;
use api::Client;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Prints `text` as it is. A reader that closes the pipe early, as `head` does, ends the command quietly.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => eprintln!("error: can't write the output: {error}"),
        Ok(()) => {}
    }
}

/// Prints `value` as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::new)?;
    print(&format!("{text}\n"));
    Ok(())
}

/// Prints `value` as JSON if that was asked for, and else in words.
pub(crate) fn told<T: Serialize>(
    value: &T,
    as_json: bool,
    in_words: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    if as_json {
        return json(value);
    }
    print(&in_words(value));
    Ok(())
}

/// The same client with a bar for what it sends and fetches, and with patience.
pub(crate) fn transfers(client: Client) -> Client {
    let template = "{bar:40.cyan/blue} {bytes} of {total_bytes}  {bytes_per_sec}  {eta}";
    let style = ProgressStyle::with_template(template).expect("the template is fixed");
    let bar = ProgressBar::new(0).with_style(style);
    let listener = move |done, of| {
        bar.set_length(of);
        bar.set_position(done);
        if done == of {
            bar.finish_and_clear();
        }
    };
    client.telling(listener).trying(TRIES)
}

/// So often a transfer is tried again with nothing getting through: half a minute, in which a hub starts again.
const TRIES: u32 = 8;

/// A table: columns as wide as their widest cell, numbers to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| unicode_width::UnicodeWidthStr::width(text);
    let mut widths: Vec<usize> = head.iter().map(|name| width(name)).collect();
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(width(cell));
        }
    }
    let number = |cell: &str| {
        cell.bytes()
            .next()
            .is_some_and(|b| b.is_ascii_digit() || b == b'-' || b == b'+')
    };
    let mut text = String::new();
    let mut line = |cells: &[String], right: &dyn Fn(&str) -> bool| {
        let mut line = String::new();
        for (cell, widest) in cells.iter().zip(&widths) {
            let gap = " ".repeat(widest - width(cell));
            let (before, after) = if right(cell) {
                (gap, String::new())
            } else {
                (String::new(), gap)
            };
            line.push_str(&format!("{before}{cell}{after}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(&head.iter().map(ToString::to_string).collect::<Vec<_>>(), &|_| {
        false
    });
    for row in rows {
        line(row, &number);
    }
    text
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as people say them: `3.4 MB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1_000, "kB"),
    ];
    match units.iter().find(|(size, _)| n >= *size) {
        Some((size, name)) => format!("{:.1} {name}", n as f64 / *size as f64),
        None => format!("{n} bytes"),
    }
}

/// Seconds as people say them.
pub(crate) fn span(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    match units.iter().find(|(unit, _)| seconds >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", seconds / unit),
        None => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_in_korean() {
        let rows = vec![
            vec!["한강".to_owned(), "12".to_owned()],
            vec!["x".to_owned(), "7".to_owned()],
        ];
        assert_eq!(table(&["site", "n"], &rows), "site  n\n한강  12\nx      7\n");
    }

    #[test]
    fn numbers_read_well() {
        for (n, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), expected);
        }
        for (n, expected) in [(12, "12 bytes"), (3_400, "3.4 kB"), (12_345_678, "12.3 MB")] {
            assert_eq!(bytes(n), expected);
        }
    }

    #[test]
    fn spans_read_well() {
        for (seconds, expected) in [
            (0.0, "0 s"),
            (90.0, "1.5 min"),
            (5_400.0, "1.5 h"),
            (129_600.0, "1.5 d"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
