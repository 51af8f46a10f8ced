//! Rules about Rust code, read as tokens: comments, strings and macros never confuse them.

use super::{Finding, Project, Verdict};
use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// The share of functions over the bar stays small.
pub(super) fn long_functions(project: &Project) -> Verdict {
    let bars = &project.rules.bars;
    let (mut all, mut long) = (0_usize, Vec::new());
    let mut findings = Vec::new();
    for (path, text) in rust_files(project) {
        match Code::read(path, text) {
            Ok(code) => {
                all += code.functions.len();
                let over = code
                    .functions
                    .into_iter()
                    .filter(|function| function.lines > bars.function_lines);
                long.extend(over.map(|function| (path, function)));
            }
            Err(at) => findings.push(at),
        }
    }
    let percent = 100.0 * long.len() as f64 / all.max(1) as f64;
    if percent > bars.long_functions_percent {
        long.sort_by_key(|(_, function)| std::cmp::Reverse(function.lines));
        findings.extend(long.iter().map(|(path, function)| {
            let what = format!("`{}` is {} lines long", function.name, function.lines);
            Finding::at(
                path,
                function.line,
                what,
                "let each idea in it be a function of its own",
            )
        }));
    }
    let (lines, bar) = (bars.function_lines, bars.long_functions_percent);
    let measure = format!("{percent:.1}% of {all} are over {lines} lines (bar {bar}%)");
    Verdict { measure, findings }
}

/// No source file is longer than the bar.
pub(super) fn long_files(project: &Project) -> Verdict {
    let bar = project.rules.bars.file_lines;
    let mut findings = Vec::new();
    let mut longest = (0, "");
    for (path, text) in project
        .tree
        .texts(|path| path.ends_with(".rs") || path.ends_with(".py"))
    {
        let lines = text.lines().count();
        longest = longest.max((lines, path));
        if lines > bar {
            let what = format!("the file has {lines} lines");
            findings.push(Finding::at(
                path,
                bar + 1,
                what,
                "find the second story in it and give that a file",
            ));
        }
    }
    Verdict {
        measure: format!(
            "{} over {bar} lines (longest {}: {})",
            findings.len(),
            longest.0,
            longest.1
        ),
        findings,
    }
}

/// No folder, file or module has a name that says nothing.
pub(super) fn empty_names(project: &Project) -> Verdict {
    let is_empty = |name: &str| project.rules.words.empty_names.iter().any(|empty| empty == name);
    let attempt = "name it after the noun inside, or move each thing to its noun";
    let mut findings = Vec::new();
    for path in project
        .tree
        .paths()
        .filter(|path| path.ends_with(".rs") || path.ends_with(".py"))
    {
        let mut parts = path.trim_end_matches(".rs").trim_end_matches(".py").split('/');
        if let Some(name) = parts.find(|part| is_empty(part)) {
            findings.push(Finding::at(
                path,
                1,
                format!("`{name}` says nothing of what is inside"),
                attempt,
            ));
        }
    }
    for (path, text) in rust_files(project) {
        let inline = Code::read(path, text)
            .map(|code| code.modules)
            .unwrap_or_default();
        for (name, line) in inline.into_iter().filter(|(name, _)| is_empty(name)) {
            findings.push(Finding::at(
                path,
                line,
                format!("`mod {name}` says nothing of what is inside"),
                attempt,
            ));
        }
    }
    Verdict::none_allowed(findings)
}

/// `train` serves every programme and asks for none by name. Comments may speak of them.
pub(super) fn programmes_in_train(project: &Project) -> Verdict {
    let mut findings = Vec::new();
    for (path, text) in project
        .tree
        .texts(|path| path.starts_with("crates/train/") && path.ends_with(".rs"))
    {
        let words = Code::read(path, text).map(|code| code.words).unwrap_or_default();
        for programme in project.programmes() {
            for (_, line) in words.iter().filter(|(word, _)| word == programme) {
                let what = format!("train names the programme `{programme}`");
                findings.push(Finding::at(
                    path,
                    *line,
                    what,
                    "a parameter or a trait that the programme fills in",
                ));
            }
        }
    }
    Verdict::none_allowed(findings)
}

/// Tests wait for what happens, not for time to pass.
pub(super) fn sleeps_in_tests(project: &Project) -> Verdict {
    let mut findings = Vec::new();
    for (path, text) in rust_files(project) {
        for line in Code::read(path, text).map(|code| code.sleeps).unwrap_or_default() {
            let attempt = "wait for the event itself (a channel, a line of output), or pass the time in";
            findings.push(Finding::at(path, line, "a test sleeps".into(), attempt));
        }
    }
    Verdict::none_allowed(findings)
}

fn rust_files(project: &Project) -> impl Iterator<Item = (&str, &str)> {
    project.tree.texts(|path| path.ends_with(".rs"))
}

/// What the rules want to know of one file. Lines count from 1.
#[derive(Debug, Default)]
struct Code {
    functions: Vec<Function>,
    /// Modules, inline and declared.
    modules: Vec<(String, usize)>,
    /// Calls of `sleep` in test code.
    sleeps: Vec<usize>,
    /// The words inside names and literals, in lower case: `FoldingLoss` has two.
    words: Vec<(String, usize)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    line: usize,
    /// From `fn` to the closing brace.
    lines: usize,
}

impl Code {
    fn read(path: &str, text: &str) -> Result<Self, Finding> {
        // A byte order mark is no token.
        let tokens: TokenStream = text
            .trim_start_matches('\u{feff}')
            .parse()
            .map_err(|e: LexError| {
                let what = format!("this is not Rust: {e}");
                Finding::at(path, e.span().start().line, what, "`cargo check` says more")
            })?;
        let is_test = path.split('/').any(|part| part == "tests" || part == "tests.rs");
        let mut code = Self::default();
        code.walk(tokens, is_test);
        Ok(code)
    }

    /// Reads the tokens of one nesting level, then those inside its groups.
    fn walk(&mut self, tokens: TokenStream, in_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut marked_test = false;
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            let rest = &tokens[index + 1..];
            index += 1;
            match token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    if let Some((attribute, length)) = attribute(rest) {
                        marked_test |= marks_test(attribute);
                        index += length;
                    }
                }
                TokenTree::Punct(end) if end.as_char() == ';' => marked_test = false,
                TokenTree::Punct(_) => {}
                TokenTree::Literal(literal) => self.add_words(&literal.to_string(), line(token)),
                TokenTree::Ident(name) => {
                    let before = tokens[..index - 1].last();
                    self.add_name(&name.to_string(), token, before, rest, in_test);
                }
                TokenTree::Group(group) => {
                    let is_body = group.delimiter() == Delimiter::Brace;
                    self.walk(group.stream(), in_test || (marked_test && is_body));
                    marked_test &= !is_body;
                }
            }
        }
    }

    fn add_name(
        &mut self,
        name: &str,
        at: &TokenTree,
        before: Option<&TokenTree>,
        rest: &[TokenTree],
        in_test: bool,
    ) {
        match (name, rest.first()) {
            ("fn", Some(TokenTree::Ident(function))) => self.add_function(&function.to_string(), at, rest),
            ("mod", Some(TokenTree::Ident(module))) => self.modules.push((module.to_string(), line(at))),
            ("sleep", Some(TokenTree::Group(group)))
                if in_test && group.delimiter() == Delimiter::Parenthesis =>
            {
                let is_defined = matches!(before, Some(TokenTree::Ident(word)) if word == "fn");
                if !is_defined {
                    self.sleeps.push(line(at));
                }
            }
            _ => {}
        }
        self.add_words(name, line(at));
    }

    /// A function has a body if a brace comes before the next semicolon.
    fn add_function(&mut self, name: &str, at: &TokenTree, rest: &[TokenTree]) {
        let end = rest.iter().find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                Some(Some(group.span_close().end().line))
            }
            TokenTree::Punct(end) if end.as_char() == ';' => Some(None),
            _ => None,
        });
        if let Some(Some(end)) = end {
            self.functions.push(Function {
                name: name.into(),
                line: line(at),
                lines: end - line(at) + 1,
            });
        }
    }

    fn add_words(&mut self, text: &str, line: usize) {
        let mut word = String::new();
        let mut was_lower = false;
        for c in text.chars().chain(std::iter::once(' ')) {
            let ends = !c.is_alphanumeric() || (was_lower && c.is_uppercase());
            if ends && !word.is_empty() {
                self.words.push((std::mem::take(&mut word), line));
            }
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            }
            was_lower = c.is_lowercase();
        }
    }
}

/// What stands in the brackets after a `#`, and how many tokens that takes.
fn attribute(after_hash: &[TokenTree]) -> Option<(TokenStream, usize)> {
    match after_hash {
        [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Bracket => Some((group.stream(), 1)),
        [TokenTree::Punct(bang), TokenTree::Group(group), ..] if bang.as_char() == '!' => {
            Some((group.stream(), 2))
        }
        _ => None,
    }
}

/// `#[test]`, `#[tokio::test]`, `#[cfg(test)]`, but neither `#[cfg(not(test))]` nor `#[cfg_attr(test, ...)]`.
fn marks_test(attribute: TokenStream) -> bool {
    let mut names = Vec::new();
    collect_names(attribute, &mut names);
    let has = |name: &str| names.iter().any(|one| one == name);
    has("test") && !has("not") && !has("cfg_attr")
}

fn collect_names(tokens: TokenStream, names: &mut Vec<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => names.push(name.to_string()),
            TokenTree::Group(group) => collect_names(group.stream(), names),
            _ => {}
        }
    }
}

fn line(token: &TokenTree) -> usize {
    token.span().start().line
}

#[cfg(test)]
mod tests {
    use super::super::crates::Crate;
    use super::*;

    #[test]
    fn a_function_is_measured_from_fn_to_its_brace() {
        let text = "//! A file.\n\n/// Not counted.\n#[inline]\npub fn a<'x>(f: fn(u8) -> u8)\nwhere\n    u8: Copy,\n{\n    \
                    let s = \"}\"; // }\n    fn b() {}\n}\n\ntrait T {\n    fn c(&self);\n    fn d(&self) {}\n}\n";
        let functions = Code::read("a.rs", text).unwrap().functions;
        let found: Vec<(&str, usize, usize)> = functions
            .iter()
            .map(|function| (function.name.as_str(), function.line, function.lines))
            .collect();
        assert_eq!(found, [("a", 5, 7), ("b", 10, 1), ("d", 15, 1)]);
    }

    #[test]
    fn long_functions_are_found_when_they_are_too_many() {
        let (short, long) = ("fn a() {}\n", "fn b() {\n1;\n2;\n3;\n}\n");
        let check = |text: &str, percent: &str, places: &[&str]| {
            let verdict = long_functions(&Project::made_up(&[("src/a.rs", text)]));
            assert!(verdict.measure.starts_with(percent), "{}", verdict.measure);
            assert_eq!(verdict.places(), places);
        };
        check(short, "0.0% of 1", &[]);
        check(&[short, long].concat(), "50.0% of 2", &[]);
        check(
            &[long, long, short].concat(),
            "66.7% of 3",
            &["src/a.rs:1", "src/a.rs:6"],
        );
        check("fn a() {", "0.0% of 0", &["src/a.rs:1"]);
    }

    #[test]
    fn a_long_file_is_found() {
        let text = "\n".repeat(11);
        let project = Project::made_up(&[
            ("a.rs", &text[..10]),
            ("b.rs", &text),
            ("c.py", &text),
            ("d.md", &text),
        ]);
        assert_eq!(long_files(&project).places(), ["b.rs:11", "c.py:11"]);
    }

    #[test]
    fn an_empty_name_is_found() {
        let project = Project::made_up(&[
            ("crates/a/src/util.rs", ""),
            ("crates/a/src/util/x.rs", ""),
            ("crates/b/src/utility.rs", "//! mod util\nmod utility;\n"),
            ("crates/c/src/lib.rs", "\nmod util { }\n"),
            ("docs/util.md", ""),
        ]);
        let expected = [
            "crates/a/src/util.rs:1",
            "crates/a/src/util/x.rs:1",
            "crates/c/src/lib.rs:2",
        ];
        assert_eq!(empty_names(&project).places(), expected);
    }

    #[test]
    fn a_programme_in_train_is_found_but_not_in_a_comment() {
        let check = |text: &str, lines: &[usize]| {
            let programme = Crate {
                name: "folding".into(),
                folder: "programs/folding".into(),
                ..Crate::default()
            };
            let files = [("crates/train/src/a.rs", text), ("crates/nn/src/a.rs", text)];
            let project = Project {
                crates: vec![programme],
                ..Project::made_up(&files)
            };
            let found = programmes_in_train(&project).findings;
            assert_eq!(
                found.iter().map(|finding| finding.line).collect::<Vec<_>>(),
                lines,
                "{text}"
            );
        };
        check(
            "//! The folding programme too.\n/// folding\n// folding\nfn unfolding() {}\n",
            &[],
        );
        check("\nfn f(k: &str) -> bool { k == \"folding\" }\n", &[2]);
        check("struct FoldingLoss;\nfn folding_step() {}\n", &[1, 2]);
        check("const RUN: &str = \"run folding now\";\n", &[1]);
    }

    #[test]
    fn a_sleep_is_found_in_tests_only() {
        let check = |path: &str, text: &str, lines: &[usize]| {
            let found = sleeps_in_tests(&Project::made_up(&[(path, text)])).findings;
            assert_eq!(
                found.iter().map(|finding| finding.line).collect::<Vec<_>>(),
                lines,
                "{path}: {text}"
            );
        };
        let (lib, it) = ("crates/a/src/lib.rs", "crates/a/tests/it/main.rs");
        check(lib, "fn f() { std::thread::sleep(d); }", &[]);
        check(it, "fn f() {\n std::thread::sleep(d); }", &[2]);
        check(
            "crates/a/src/x/tests.rs",
            "fn f() { tokio::time::sleep(d).await; }",
            &[1],
        );
        check(
            lib,
            "#[cfg(test)]\nmod tests {\n fn f() {\n thread::sleep(d) } }\nfn g() { sleep(d) }",
            &[4],
        );
        check(lib, "#[tokio::test]\nasync fn f() { sleep(d).await }", &[2]);
        check(lib, "#[cfg(not(test))]\nfn f() { sleep(d) }", &[]);
        check(lib, "#[cfg(test)]\nuse x::y;\nfn f() { sleep(d) }", &[]);
        check(
            it,
            "fn f() { let s = \"sleep(1)\"; } // sleep(1)\nfn sleep(d: D) {}",
            &[],
        );
    }
}
