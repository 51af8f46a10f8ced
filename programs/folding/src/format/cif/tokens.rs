//! The words of CIF 1.1.

use super::Wrong;

/// A word with its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    /// Without its quotes.
    pub(super) bytes: &'a [u8],
    line: usize,
    column: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `data_...`: a block begins.
    Data,
    /// `save_...`, as dictionaries have it.
    Save,
    /// `loop_`: a table begins.
    Loop,
    /// `_category.field`
    Name,
    /// A value as it stands.
    Bare,
    /// A value in quotes, or a text field between lines that begin with `;`.
    Quoted,
}

impl Token<'_> {
    pub(super) fn is_value(&self) -> bool {
        matches!(self.kind, Kind::Bare | Kind::Quoted)
    }

    pub(super) fn wrong(&self, what: &str) -> Wrong {
        Wrong {
            line: self.line,
            column: self.column,
            what: what.to_owned(),
        }
    }
}

/// Cuts bytes into words.
pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    /// Where the line begins.
    line_start: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Self {
            bytes,
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// The next word; None at the end.
    pub(super) fn next(&mut self) -> Result<Option<Token<'a>>, Wrong> {
        self.skip_space();
        let Some(&first) = self.bytes.get(self.at) else {
            return Ok(None);
        };
        let token = match first {
            b';' if self.at == self.line_start => self.text_field()?,
            b'\'' | b'"' => self.quoted(first)?,
            _ => self.bare(),
        };
        Ok(Some(token))
    }

    fn skip_space(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => self.end_line(),
                b'#' => self.at = self.line_end(),
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ => break,
            }
        }
    }

    fn end_line(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
    }

    /// Where this line's end is, or the file's.
    fn line_end(&self) -> usize {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        length.map_or(self.bytes.len(), |length| self.at + length)
    }

    fn token(&self, kind: Kind, bytes: &'a [u8]) -> Token<'a> {
        Token {
            kind,
            bytes,
            line: self.line,
            column: self.at - self.line_start + 1,
        }
    }

    fn bare(&mut self) -> Token<'a> {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        let word = &rest[..length];
        let begins = |prefix: &[u8]| {
            let head = word.get(..prefix.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(prefix))
        };
        let kind = match word[0] {
            b'_' => Kind::Name,
            _ if begins(b"data_") => Kind::Data,
            _ if begins(b"save_") => Kind::Save,
            _ if word.eq_ignore_ascii_case(b"loop_") => Kind::Loop,
            _ => Kind::Bare,
        };
        let token = self.token(kind, word);
        self.at += length;
        token
    }

    /// A value in quotes of a kind. A quote within it ends it only if white space follows.
    fn quoted(&mut self, quote: u8) -> Result<Token<'a>, Wrong> {
        let inside = &self.bytes[self.at + 1..self.line_end()];
        let ends = |i: &usize| inside[*i] == quote && inside.get(i + 1).is_none_or(u8::is_ascii_whitespace);
        let Some(length) = (0..inside.len()).find(ends) else {
            let open = self.token(Kind::Quoted, inside);
            return Err(open.wrong("a quote that isn't closed in its line"));
        };
        let token = self.token(Kind::Quoted, &inside[..length]);
        self.at += length + 2;
        Ok(token)
    }

    /// A value of several lines, between two `;` that begin a line.
    fn text_field(&mut self) -> Result<Token<'a>, Wrong> {
        let open = self.token(Kind::Quoted, &[]);
        let start = self.at + 1;
        self.at = self.line_end();
        while self.at < self.bytes.len() {
            self.end_line();
            if self.bytes.get(self.at) == Some(&b';') {
                let text = &self.bytes[start..self.at - 1];
                self.at += 1;
                return Ok(Token {
                    bytes: text.strip_suffix(b"\r").unwrap_or(text),
                    ..open
                });
            }
            self.at = self.line_end();
        }
        Err(open.wrong("a text field that isn't closed: a line that begins with `;` is missing"))
    }
}
