//! Licence expressions: SPDX with `OR`, `AND`, `WITH` and parentheses, and cargo's older `/` for `OR`.
//!
//! ```text
//! any  = all { ("OR" | "/") all }
//! all  = one { "AND" one }
//! one  = "(" any ")" | name [ "WITH" exception ]
//! ```

/// Whether `expression` can be met with licences that `allowed` is true of.
///
/// # Errors
/// What is wrong with the expression.
pub(super) fn permits(expression: &str, allowed: impl Fn(&str) -> bool) -> Result<bool, String> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut parser = Parser {
        words: spaced.split_whitespace().collect(),
        next: 0,
        allowed,
    };
    let permitted = parser.any(0)?;
    match parser.peek() {
        None => Ok(permitted),
        Some(word) => Err(format!("`{word}` stands where the licence should end")),
    }
}

/// Deeper than any real licence, shallower than any stack.
const DEEPEST: usize = 32;

struct Parser<'a, F> {
    words: Vec<&'a str>,
    next: usize,
    allowed: F,
}

impl<'a, F: Fn(&str) -> bool> Parser<'a, F> {
    fn any(&mut self, depth: usize) -> Result<bool, String> {
        let mut permitted = self.all(depth)?;
        while self.take("OR") {
            permitted |= self.all(depth)?;
        }
        Ok(permitted)
    }

    fn all(&mut self, depth: usize) -> Result<bool, String> {
        let mut permitted = self.one(depth)?;
        while self.take("AND") {
            permitted &= self.one(depth)?;
        }
        Ok(permitted)
    }

    fn one(&mut self, depth: usize) -> Result<bool, String> {
        if self.take("(") {
            if depth == DEEPEST {
                return Err(format!("parentheses nest deeper than {DEEPEST}"));
            }
            let permitted = self.any(depth + 1)?;
            return if self.take(")") {
                Ok(permitted)
            } else {
                Err("a parenthesis stays open".into())
            };
        }
        let name = self.name()?;
        if self.take("WITH") {
            self.name()?; // an exception only adds a permission
        }
        Ok((self.allowed)(name))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        match self.peek() {
            Some(word) if !["OR", "AND", "WITH", "(", ")"].contains(&word) => {
                self.next += 1;
                Ok(word)
            }
            Some(word) => Err(format!("`{word}` stands where a licence should")),
            None => Err("it ends where a licence should stand".into()),
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.next += usize::from(found);
        found
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::permits;

    fn check(expression: &str, expected: Result<bool, &str>) {
        let found = permits(expression, |name| ["MIT", "Zlib"].contains(&name));
        assert_eq!(
            found.as_ref().copied().map_err(String::as_str),
            expected,
            "{expression}"
        );
    }

    #[test]
    fn expressions() {
        check("MIT", Ok(true));
        check("GPL-3.0-only", Ok(false));
        check("GPL-3.0-only OR MIT", Ok(true));
        check("GPL-3.0-only/MIT", Ok(true));
        check("GPL-3.0-only / AGPL-3.0", Ok(false));
        check("MIT AND GPL-3.0-only", Ok(false));
        check("MIT AND Zlib", Ok(true));
        check("MIT WITH LLVM-exception", Ok(true));
        check("GPL-3.0-only WITH LLVM-exception", Ok(false));
        check("(MIT OR GPL-3.0-only) AND Zlib", Ok(true));
    }

    #[test]
    fn and_binds_closer_than_or() {
        check("MIT OR Zlib AND GPL-3.0-only", Ok(true));
        check("(MIT OR Zlib) AND GPL-3.0-only", Ok(false));
    }

    #[test]
    fn mistakes() {
        check("", Err("it ends where a licence should stand"));
        check("MIT OR", Err("it ends where a licence should stand"));
        check("AND MIT", Err("`AND` stands where a licence should"));
        check("(MIT", Err("a parenthesis stays open"));
        check("MIT)", Err("`)` stands where the licence should end"));
        check("MIT Zlib", Err("`Zlib` stands where the licence should end"));
        check(&"(".repeat(100_000), Err("parentheses nest deeper than 32"));
    }
}
