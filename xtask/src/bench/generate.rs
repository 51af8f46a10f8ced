//! `cargo xtask bench generate`: tokens a second of greedy generation, batch 1, with a cache.

use super::place::Place;
use super::race::{Course, REST, Rules, race};
use super::table::table;
use super::{Common, Size};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Which model; khub makes a random one
    #[arg(long, value_enum, default_value = "M")]
    size: Size,
    /// Tokens of a run
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(1..=240))]
    tokens: u16,
    /// The Python with `transformers` to measure against; `auto` installs one below the target folder
    #[arg(long, value_name = "PYTHON|auto")]
    peer: Option<String>,
    /// How many runs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, asked.peer.as_deref())?;
    let model = place.folder.join(format!("generate-{}", asked.size.name()));
    let model = model.to_str().ok_or("the target folder's name is no text")?;
    let (threads, tokens) = (asked.common.threads(), asked.tokens.to_string());
    let shared = ["--tokens", &tokens, "--threads", &threads];
    let khub = [
        &["generate", "--size", asked.size.name(), "--dir", model],
        &shared[..],
    ]
    .concat();
    let mut workers = vec![("khub", place.khub(&khub))];
    // khub is ready before its peer starts, so the peer finds the model.
    let peer = [&["--json", "--model", model], &shared[..]].concat();
    workers.extend(
        place
            .peer("generate.py", &peer)
            .map(|command| ("transformers", command)),
    );
    let rules = Rules {
        word: "run",
        rounds: asked.runs.into(),
        rest: REST,
        logs: &place.logs(),
    };
    let report = Report::new(asked, &race(workers, &rules)?)?;
    asked.common.print(&report)
}

#[derive(Debug, Serialize)]
struct Report {
    size: &'static str,
    tokens: u16,
    khub: Speed,
    #[serde(skip_serializing_if = "Option::is_none")]
    transformers: Option<Speed>,
    /// khub's tokens a second over its peer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// How many tokens both chose alike before the first that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_tokens: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Speed {
    version: String,
    tokens_per_s: f64,
    run_ms: f64,
    peak_rss_bytes: u64,
}

impl Report {
    fn new(asked: &Asked, courses: &[Course]) -> Result<Self, String> {
        let khub = &courses[0];
        let peer = courses.get(1);
        let transformers = peer.map(|peer| Speed::new(peer, asked.tokens)).transpose()?;
        Ok(Self {
            size: asked.size.name(),
            tokens: asked.tokens,
            khub: Speed::new(khub, asked.tokens)?,
            transformers,
            ratio: peer.map(|peer| peer.seconds() / khub.seconds()),
            same_tokens: peer.and_then(|peer| Some(alike(ids(khub)?, ids(peer)?))),
        })
    }
}

impl Speed {
    fn new(course: &Course, tokens: u16) -> Result<Self, String> {
        let made = course.turns.iter().map(|turn| turn.tokens);
        if let Some(other) = made.into_iter().find(|made| *made != Some(tokens.into())) {
            let made = other.map_or("an unknown number of".into(), |made| made.to_string());
            return Err(format!(
                "{} made {made} tokens where {tokens} were asked for",
                course.name
            ));
        }
        let seconds = course.seconds();
        Ok(Self {
            version: course.ready.version.clone(),
            tokens_per_s: f64::from(tokens) / seconds,
            run_ms: seconds * 1e3,
            peak_rss_bytes: course.end.peak_rss_bytes,
        })
    }

    fn row(&self, name: &str) -> Vec<String> {
        vec![
            format!("{name} ({})", self.version),
            format!("{:.1}", self.tokens_per_s),
            format!("{:.1}", self.run_ms),
            format!("{:.0}", self.peak_rss_bytes as f64 / 1e6),
        ]
    }
}

/// The tokens of the first run; every run makes the same.
fn ids(course: &Course) -> Option<&[u32]> {
    course.turns.first()?.ids.as_deref()
}

/// How many tokens agree before the first that doesn't.
fn alike(ours: &[u32], theirs: &[u32]) -> usize {
    ours.iter()
        .zip(theirs)
        .take_while(|(our, their)| our == their)
        .count()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![["", "tokens/s", "run ms", "peak MB"].map(String::from).to_vec()];
        rows.push(self.khub.row("khub"));
        rows.extend(self.transformers.as_ref().map(|speed| speed.row("transformers")));
        write!(
            f,
            "size {}, {} tokens a run\n{}",
            self.size,
            self.tokens,
            table(&rows)
        )?;
        if let Some(ratio) = self.ratio {
            write!(f, "speed against transformers  {ratio:.2}")?;
        }
        if let Some(same) = self.same_tokens {
            write!(f, "\ntokens chosen alike         {same} of {}", self.tokens)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::worker::{End, Ready, Turn};
    use super::*;

    fn course(name: &str, seconds: f64, ids: &[u32]) -> Course {
        let ready = Ready {
            ready: true,
            params: 1,
            version: format!("{name} 1"),
            import_rss_bytes: None,
        };
        let turn = Turn {
            seconds,
            loss: None,
            tokens: Some(ids.len() as u64),
            ids: Some(ids.to_vec()),
        };
        Course {
            name: name.into(),
            ready,
            turns: vec![turn],
            end: End { peak_rss_bytes: 1 },
        }
    }

    fn report(courses: &[Course]) -> Result<Report, String> {
        let asked = Asked {
            size: Size::M,
            tokens: 4,
            peer: None,
            runs: 1,
            common: Common {
                threads: None,
                json: false,
                khub: None,
            },
        };
        Report::new(&asked, courses)
    }

    #[test]
    fn speeds_and_the_tokens_that_agree() {
        let courses = [
            course("khub", 0.5, &[7, 8, 9, 9]),
            course("transformers", 2.0, &[7, 8, 1, 9]),
        ];
        let report = report(&courses).unwrap();
        assert_eq!((report.khub.tokens_per_s, report.ratio), (8.0, Some(4.0)));
        assert_eq!(report.same_tokens, Some(2));
        assert!(
            report.to_string().contains("tokens chosen alike         2 of 4"),
            "{report}"
        );
    }

    #[test]
    fn too_few_tokens_are_no_result() {
        let error = report(&[course("khub", 0.5, &[7, 8])]).unwrap_err();
        assert_eq!(error, "khub made 2 tokens where 4 were asked for");
    }
}
