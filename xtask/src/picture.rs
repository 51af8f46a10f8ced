//! `cargo xtask picture`: captured terminal output as a self-contained SVG of a terminal window.
//!
//! The text is cut into runs of one style and one kind of character. A run is placed at its own `x` with its
//! own `textLength`, so that columns line up in any font, Korean (two columns a character) included.

use std::fmt::Write as _;
use std::path::Path;
use unicode_width::UnicodeWidthChar as _;

/// Prints the picture of `file` under `title`.
pub(crate) fn run(file: &Path, title: &str) -> Result<(), String> {
    let bytes = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        format!(
            "{}: not UTF-8 after byte {}",
            file.display(),
            e.utf8_error().valid_up_to()
        )
    })?;
    print!("{}", svg(&screen(&text), title));
    Ok(())
}

/// How a character looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    /// 0 to 7, and 8 to 15 for the bright ones; none for the terminal's own.
    colour: Option<u8>,
    bold: bool,
    dim: bool,
}

/// How a run is fitted to its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One column a character: the gaps give.
    Narrow,
    /// Two columns a character: the gaps give.
    Wide,
    /// Lines and blocks that must touch: the glyphs give.
    Drawn,
}

/// Characters of one style and kind, side by side.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    column: usize,
    columns: usize,
    text: String,
    style: Style,
    kind: Kind,
}

/// What the screen shows once all of `text` has been printed: a style lasts until the next, also across
/// lines; other escape sequences leave no trace.
fn screen(text: &str) -> Vec<Vec<Run>> {
    let mut style = Style::default();
    let mut lines: Vec<Vec<Run>> = text
        .trim_end()
        .split('\n')
        .map(|line| shown(line, &mut style))
        .collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

/// One line. A carriage return begins it again, as progress bars do.
fn shown(line: &str, style: &mut Style) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut column = 0;
    let mut rest = line.trim_end_matches('\r').chars();
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => {
                if let Some(parameters) = escape(&mut rest) {
                    style.select(&parameters);
                }
            }
            '\r' => {
                runs.clear();
                column = 0;
            }
            ' ' => column += 1,
            '\t' => column = (column / TAB + 1) * TAB,
            _ => column += put(&mut runs, column, c, *style),
        }
    }
    runs
}

/// Puts `c` at `column` and returns how many columns it takes; 0 for marks that sit on the character before.
fn put(runs: &mut Vec<Run>, column: usize, c: char, style: Style) -> usize {
    let Some(columns) = c.width() else { return 0 }; // a control character
    let kind = match c {
        '\u{2500}'..='\u{259f}' => Kind::Drawn,
        _ if columns == 2 => Kind::Wide,
        _ => Kind::Narrow,
    };
    match runs.last_mut() {
        Some(run) if columns == 0 => run.text.push(c),
        Some(run) if (run.style, run.kind, run.column + run.columns) == (style, kind, column) => {
            run.text.push(c);
            run.columns += columns;
        }
        _ if columns == 0 => {}
        _ => runs.push(Run {
            column,
            columns,
            text: c.into(),
            style,
            kind,
        }),
    }
    columns
}

/// Reads an escape sequence up to its end: the parameters if it selects a style, none for any other.
fn escape(rest: &mut std::str::Chars<'_>) -> Option<String> {
    match rest.next()? {
        '[' => {
            let mut parameters = String::new();
            for c in rest {
                match c {
                    'm' => return Some(parameters),
                    '\x40'..='\x7e' => return None,
                    _ => parameters.push(c),
                }
            }
            None
        }
        // A title or a hyperlink, up to a bell or a string terminator.
        ']' => {
            let mut before = ' ';
            rest.find(|&c| c == '\x07' || std::mem::replace(&mut before, c) == '\x1b' && c == '\\');
            None
        }
        _ => None,
    }
}

impl Style {
    /// The codes between `ESC [` and `m`. Backgrounds and what else there is are passed over.
    fn select(&mut self, parameters: &str) {
        let mut codes = parameters.split(';').map(|code| code.parse::<u8>().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                22 => (self.bold, self.dim) = (false, false),
                30..=37 => self.colour = Some(code - 30),
                90..=97 => self.colour = Some(code - 90 + 8),
                39 => self.colour = None,
                // A colour by index or by red, green and blue: their numbers are no codes.
                38 | 48 => match codes.next() {
                    Some(5) => drop(codes.next()),
                    Some(2) => drop(codes.nth(2)),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    fn class(self) -> String {
        let mut names = Vec::new();
        names.extend(self.colour.map(|colour| format!("c{colour}")));
        names.extend(self.bold.then(|| "b".to_owned()));
        names.extend(self.dim.then(|| "d".to_owned()));
        if names.is_empty() {
            String::new()
        } else {
            format!(" class=\"{}\"", names.join(" "))
        }
    }
}

const TAB: usize = 8;
/// Pixels of a column.
const COLUMN: f64 = 8.4;
/// Pixels from line to line.
const LINE: f64 = 20.0;
/// Pixels around the text.
const MARGIN: f64 = 18.0;
/// Pixels of the title bar.
const BAR: f64 = 38.0;
/// No window is narrower.
const FEWEST_COLUMNS: usize = 40;

/// Black, red, green, yellow, blue, magenta, cyan, white; then the bright ones.
const PALETTE: [&str; 16] = [
    "#545c6b", "#e67080", "#8fc876", "#e3b868", "#6cb2f0", "#c58be0", "#5cc0c8", "#c9d1dc", //
    "#7a8494", "#f58c99", "#a8dc90", "#f2cc85", "#8cc6fa", "#d7a6ee", "#7ed6dc", "#ffffff",
];

fn svg(lines: &[Vec<Run>], title: &str) -> String {
    let ends = lines.iter().flatten().map(|run| run.column + run.columns);
    let columns = ends.max().unwrap_or(0).max(FEWEST_COLUMNS);
    let width = (columns as f64 * COLUMN + 2.0 * MARGIN).ceil();
    let height = BAR + lines.len() as f64 * LINE + MARGIN;
    let title = escaped(title);
    let mut picture = String::new();
    let mut put = |line: &str| {
        picture.push_str(line);
        picture.push('\n');
    };
    put(&format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">"
    ));
    put(&style_sheet(lines));
    put(&format!(
        "<rect width=\"{width}\" height=\"{height}\" rx=\"9\" fill=\"#171b22\"/>"
    ));
    for (x, fill) in [(20, "#ec6a5e"), (40, "#f4bf4f"), (60, "#61c554")] {
        put(&format!("<circle cx=\"{x}\" cy=\"19\" r=\"6\" fill=\"{fill}\"/>"));
    }
    put(&format!(
        "<text x=\"{}\" y=\"24\" class=\"t\">{title}</text>",
        width / 2.0
    ));
    for (number, runs) in lines.iter().enumerate() {
        let y = BAR + (number as f64 + 0.75) * LINE;
        for run in runs {
            put(&element(run, y));
        }
    }
    put("</svg>");
    picture
}

/// Only the colours in use.
fn style_sheet(lines: &[Vec<Run>]) -> String {
    let mut css = "text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',D2Coding,\
                   'Noto Sans Mono CJK KR',monospace;font-size:14px;fill:#d7dde6;white-space:pre}\
                   .b{font-weight:700}.d{opacity:.62}.t{text-anchor:middle;fill:#8b94a3}"
        .to_owned();
    for (number, colour) in PALETTE.iter().enumerate() {
        if lines
            .iter()
            .flatten()
            .any(|run| run.style.colour.map(usize::from) == Some(number))
        {
            let _ = write!(css, ".c{number}{{fill:{colour}}}");
        }
    }
    format!("<style>{css}</style>")
}

fn element(run: &Run, y: f64) -> String {
    let (x, length) = (MARGIN + run.column as f64 * COLUMN, run.columns as f64 * COLUMN);
    let adjust = if run.kind == Kind::Drawn {
        " lengthAdjust=\"spacingAndGlyphs\""
    } else {
        ""
    };
    let (class, text) = (run.style.class(), escaped(&run.text));
    format!("<text x=\"{x:.1}\" y=\"{y:.0}\" textLength=\"{length:.1}\"{adjust}{class}>{text}</text>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The runs of a screen as `line:column+columns text class`.
    fn check(text: &str, expected: &[&str]) {
        let lines = screen(text);
        let runs = lines
            .iter()
            .enumerate()
            .flat_map(|(number, runs)| runs.iter().map(move |run| (number, run)));
        let found: Vec<String> = runs
            .map(|(number, run)| {
                let place = format!("{number}:{}+{}", run.column, run.columns);
                format!("{place} {}{}", run.text, run.style.class())
            })
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn columns_count_korean_twice() {
        check("a한국어b", &["0:0+1 a", "0:1+6 한국어", "0:7+1 b"]);
        check(
            "\u{1112}\u{1161}\u{11ab}x",
            &["0:0+2 \u{1112}\u{1161}\u{11ab}", "0:2+1 x"],
        );
        check("e\u{301}t", &["0:0+2 e\u{301}t"]);
        check("  two words\n\tx", &["0:2+3 two", "0:6+5 words", "1:8+1 x"]);
        check("ab██░", &["0:0+2 ab", "0:2+3 ██░"]);
    }

    #[test]
    fn colours_last_until_the_next() {
        check("\x1b[1;32mok\x1b[0m go", &["0:0+2 ok class=\"c2 b\"", "0:3+2 go"]);
        check(
            "\x1b[2ma\nb\x1b[22mc",
            &["0:0+1 a class=\"d\"", "1:0+1 b class=\"d\"", "1:1+1 c"],
        );
        check(
            "\x1b[94ma\x1b[39mb\x1b[mc",
            &["0:0+1 a class=\"c12\"", "0:1+2 bc"],
        );
        check(
            "\x1b[38;5;1ma\x1b[38;2;1;2;4mb\x1b[48;5;2;31mc",
            &["0:0+2 ab", "0:2+1 c class=\"c1\""],
        );
    }

    #[test]
    fn what_is_overwritten_or_only_moves_the_cursor_is_gone() {
        check("10%\r100%\r\n", &["0:0+4 100%"]);
        check(
            "\x1b[2K\x1b[1Ga\x1b]0;title\x07b\x1b]8;;x\x1b\\c\x1b7d\x07",
            &["0:0+4 abcd"],
        );
        check("a\n\n\x1b[0m  \n\n", &["0:0+1 a"]);
    }

    #[test]
    fn no_text_panics() {
        for text in [
            "",
            "\x1b",
            "\x1b[",
            "\x1b[999;;m",
            "\x1b]",
            "\x1b[38",
            "\x1b[38;5m",
            "\u{301}",
            "\r\r",
            "\0",
        ] {
            check(text, &[]);
        }
    }

    #[test]
    fn the_picture_places_each_run() {
        let lines = screen("\x1b[33m<한>\x1b[0m\n\n━x");
        let picture = svg(&lines, "a & b");
        let texts: Vec<&str> = picture
            .lines()
            .filter(|line| line.contains("textLength"))
            .collect();
        assert_eq!(
            texts,
            [
                "<text x=\"18.0\" y=\"53\" textLength=\"8.4\" class=\"c3\">&lt;</text>",
                "<text x=\"26.4\" y=\"53\" textLength=\"16.8\" class=\"c3\">한</text>",
                "<text x=\"43.2\" y=\"53\" textLength=\"8.4\" class=\"c3\">&gt;</text>",
                "<text x=\"18.0\" y=\"93\" textLength=\"8.4\" lengthAdjust=\"spacingAndGlyphs\">━</text>",
                "<text x=\"26.4\" y=\"93\" textLength=\"8.4\">x</text>",
            ]
        );
        assert!(picture.starts_with("<svg xmlns") && picture.ends_with("</svg>\n"));
        assert!(
            picture.contains(">a &amp; b</text>") && picture.contains(".c3{") && !picture.contains(".c4{")
        );
        assert!(picture.contains("viewBox=\"0 0 372 116\""), "{picture}");
    }
}
