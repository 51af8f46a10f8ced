//! `cargo xtask bench fold`: residues a second of ESM-2 with the sizes of its 8M model, one sequence at a time.

use super::Common;
use super::place::Place;
use super::race::{Course, REST, Rules, race};
use super::table::table;
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Residues of a sequence; each length is a race of its own
    #[arg(long, value_delimiter = ',', default_values_t = [100, 400], value_parser = clap::value_parser!(u16).range(1..=1022))]
    lengths: Vec<u16>,
    /// The Python with `transformers` to measure against; `auto` installs one below the target folder
    #[arg(long, value_name = "PYTHON|auto")]
    peer: Option<String>,
    /// How many passes over each sequence
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, asked.peer.as_deref())?;
    let model = place.folder.join("fold");
    let model = model.to_str().ok_or("the target folder's name is no text")?;
    let threads = asked.common.threads();
    let mut lengths = Vec::new();
    for length in &asked.lengths {
        let text = length.to_string();
        let shared = ["--length", &text, "--threads", &threads];
        let khub = [&["fold", "--dir", model], &shared[..]].concat();
        let mut workers = vec![("khub", place.khub(&khub))];
        // khub is ready before its peer starts, so the peer finds the model.
        let peer = [&["--json", "--model", model], &shared[..]].concat();
        let peer = place.peer("fold.py", &peer);
        workers.extend(peer.map(|command| ("transformers", command)));
        let rules = Rules {
            word: "run",
            rounds: asked.runs.into(),
            rest: REST,
            logs: &place.logs(),
        };
        lengths.push(Length::new(*length, &race(workers, &rules)?)?);
    }
    asked.common.print(&Report { lengths })
}

#[derive(Debug, Serialize)]
struct Report {
    lengths: Vec<Length>,
}

/// What came of sequences of one length.
#[derive(Debug, Serialize)]
struct Length {
    residues: u16,
    khub: Speed,
    #[serde(skip_serializing_if = "Option::is_none")]
    transformers: Option<Speed>,
    /// khub's residues a second over its peer's, by median passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// At how many residues both find the same token the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    alike: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Speed {
    version: String,
    params: u64,
    runs: usize,
    residues_per_s: f64,
    pass_ms: f64,
    quickest_ms: f64,
    peak_rss_bytes: u64,
}

impl Length {
    fn new(residues: u16, courses: &[Course]) -> Result<Self, String> {
        let khub = &courses[0];
        let peer = courses.get(1);
        Ok(Self {
            residues,
            khub: Speed::new(khub, residues)?,
            transformers: peer.map(|peer| Speed::new(peer, residues)).transpose()?,
            ratio: peer.map(|peer| peer.seconds() / khub.seconds()),
            alike: peer.and_then(|peer| {
                let ids = |course: &Course| course.turns.first()?.ids.clone();
                let pairs = ids(khub)?.into_iter().zip(ids(peer)?);
                Some(pairs.filter(|(ours, theirs)| ours == theirs).count())
            }),
        })
    }
}

impl Speed {
    fn new(course: &Course, residues: u16) -> Result<Self, String> {
        if course
            .turns
            .iter()
            .any(|turn| turn.tokens != Some(residues.into()))
        {
            return Err(format!(
                "{} didn't read {residues} residues in each pass",
                course.name
            ));
        }
        let seconds = course.seconds();
        let quickest = course.turns.iter().map(|turn| turn.seconds);
        Ok(Self {
            version: course.ready.version.clone(),
            params: course.ready.params,
            runs: course.turns.len(),
            residues_per_s: f64::from(residues) / seconds,
            pass_ms: seconds * 1e3,
            quickest_ms: quickest.fold(f64::INFINITY, f64::min) * 1e3,
            peak_rss_bytes: course.end.peak_rss_bytes,
        })
    }

    fn row(&self, residues: u16, name: &str) -> Vec<String> {
        vec![
            format!("{name} ({})", self.version),
            residues.to_string(),
            format!("{:.0}", self.residues_per_s),
            format!("{:.1}", self.pass_ms),
            format!("{:.1}", self.quickest_ms),
            format!("{:.0}", self.peak_rss_bytes as f64 / 1e6),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "residues", "residues/s", "pass ms", "quickest ms", "peak MB"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for length in &self.lengths {
            rows.push(length.khub.row(length.residues, "khub"));
            let peer = length.transformers.as_ref();
            rows.extend(peer.map(|speed| speed.row(length.residues, "transformers")));
        }
        f.write_str(table(&rows).trim_end())?;
        for length in &self.lengths {
            let (Some(ratio), Some(alike)) = (length.ratio, length.alike) else {
                continue;
            };
            let residues = length.residues;
            write!(
                f,
                "\n{residues} residues: speed against transformers {ratio:.2}, likeliest alike at {alike}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::worker::{End, Ready, Turn};
    use super::*;

    fn course(name: &str, seconds: &[f64], ids: &[u32]) -> Course {
        let turn = |seconds: &f64| Turn {
            seconds: *seconds,
            loss: None,
            tokens: Some(ids.len() as u64),
            ids: Some(ids.to_vec()),
        };
        Course {
            name: name.into(),
            ready: Ready {
                ready: true,
                params: 1,
                version: format!("{name} 1"),
                import_rss_bytes: None,
            },
            turns: seconds.iter().map(turn).collect(),
            end: End { peak_rss_bytes: 1 },
        }
    }

    #[test]
    fn medians_are_compared_and_what_was_read() {
        let courses = [
            course("khub", &[0.5, 0.25, 9.0], &[7, 8, 9, 9]),
            course("transformers", &[2.0, 2.0, 1.0], &[7, 8, 1, 9]),
        ];
        let length = Length::new(4, &courses).unwrap();
        assert_eq!((length.khub.residues_per_s, length.ratio), (8.0, Some(4.0)));
        assert_eq!((length.khub.quickest_ms, length.alike), (250.0, Some(3)));
        let report = Report {
            lengths: vec![length],
        }
        .to_string();
        assert!(
            report.ends_with("4 residues: speed against transformers 4.00, likeliest alike at 3"),
            "{report}"
        );
        let error = Length::new(5, &courses).unwrap_err();
        assert_eq!(error, "khub didn't read 5 residues in each pass");
    }
}
