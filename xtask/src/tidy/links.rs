//! Relative links in the pages for people lead somewhere.

use super::{Finding, Project, Verdict, text::numbered};

/// Every relative link of the front pages and of `docs/` leads to a file of the tree.
pub(super) fn relative_links(project: &Project) -> Verdict {
    let mut all = 0;
    let mut findings = Vec::new();
    for (page, text) in project.tree.texts(is_page) {
        for (line, link) in links(text) {
            let Some(target) = target(page, link) else {
                continue;
            };
            all += 1;
            if !project.tree.holds(&target) {
                let what = format!("`{link}` leads nowhere: there is no {target}");
                findings.push(Finding::at(
                    page,
                    line,
                    what,
                    "the path from this page's folder; is the file in git?",
                ));
            }
        }
    }
    Verdict {
        measure: format!("{} of {all} broken", findings.len()),
        findings,
    }
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && (!path.contains('/') || path.starts_with("docs/"))
}

/// The links of a page outside its code: `[text](link)`, `![text](link)`, `[name]: link`, `src="link"` and
/// `href="link"`.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (number, line) in numbered(text) {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            // Every second piece stands between backquotes.
            for piece in line.split('`').step_by(2) {
                for (opening, closing) in [("](", ")"), ("src=\"", "\""), ("href=\"", "\"")] {
                    let after = piece.split(opening).skip(1);
                    found.extend(after.filter_map(|rest| Some((number, rest.split_once(closing)?.0))));
                }
            }
            match line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
                Some((name, link)) if !name.starts_with('^') => found.push((number, link)),
                _ => {} // `[^1]: ` opens a footnote
            }
        }
    }
    found
}

/// The path from the root that `link` on `page` leads to; none if it leads out or stays on the page.
fn target(page: &str, link: &str) -> Option<String> {
    // `file.md#heading "title"`
    let path = link.split_whitespace().next()?.split('#').next()?;
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return None;
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_must_lead_to_a_file_or_a_folder() {
        let check = |page: &str, text: &str, places: &[&str]| {
            let project = Project::made_up(&[(page, text), ("docs/a.md", ""), ("crates/x/src/lib.rs", "")]);
            assert_eq!(relative_links(&project).places(), places, "{text}");
        };
        check(
            "README.md",
            "[a](docs/a.md) ![b](./docs/a.md#part) [c](docs/a.md \"A\") [d](crates/x)",
            &[],
        );
        check(
            "README.md",
            "[a](https://example.org/x) [b](#here) [c](mailto:a@example.org)",
            &[],
        );
        check("README.md", "`[a](no.md)`\n```\n[b](no.md)\n```\n", &[]);
        check("README.md", "\n[a](no.md) [b](docs/no.md)", &["README.md:2"; 2]);
        check(
            "README.md",
            "<img src=\"docs/no.svg\"> <a href=\"docs/a.md\">",
            &["README.md:1"],
        );
        check("README.md", "[a]: docs/no.md", &["README.md:1"]);
        check("README.md", "[^1]: A footnote.", &[]);
        check(
            "docs/b.md",
            "[a](a.md) [b](../README.md) [c](../crates/)",
            &["docs/b.md:1"],
        );
        check("crates/x/notes.md", "[a](no.md)", &[]);
    }
}
