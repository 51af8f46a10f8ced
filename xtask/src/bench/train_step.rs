//! `cargo xtask bench train-step`: tokens a second and memory of a training step on random tokens.

use super::place::Place;
use super::race::{Course, Figures, REST, Rules, median, race};
use super::table::table;
use super::{Common, Dtype, Size};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// Which model
    #[arg(long, value_enum, default_value = "S")]
    size: Size,
    /// Which numbers
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
    /// The Python with PyTorch to measure against; `auto` installs one below the target folder
    #[arg(long, value_name = "PYTHON|auto")]
    peer: Option<String>,
    /// Rounds: each peer takes a step in each, khub one before each of theirs
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    #[command(flatten)]
    common: Common,
}

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, asked.peer.as_deref())?;
    let threads = asked.common.threads();
    let shared = [
        "--size",
        asked.size.name(),
        "--dtype",
        asked.dtype.name(),
        "--threads",
        &threads,
    ];
    let mut workers = vec![("khub", place.khub(&[&["train-step"], &shared[..]].concat()))];
    for mode in ["eager", "compile"] {
        let arguments = [&shared[..], &["--mode", mode, "--json"]].concat();
        workers.extend(
            place
                .peer("train_step.py", &arguments)
                .map(|command| (mode, command)),
        );
    }
    let rules = Rules {
        word: "step",
        rounds: asked.steps.into(),
        rest: REST,
        logs: &place.logs(),
    };
    let report = Report::new(asked, &race(workers, &rules)?);
    asked.common.print(&report)
}

#[derive(Debug, Serialize)]
struct Report {
    size: &'static str,
    dtype: &'static str,
    khub: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    eager: Option<Figures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compile: Option<Figures>,
    #[serde(flatten)]
    ratios: Option<Ratios>,
}

/// khub against the better of its peers, figure by figure.
#[derive(Debug, Serialize)]
struct Ratios {
    /// khub's tokens a second over those of the quicker peer.
    ratio_to_better: f64,
    /// The same from pairs of neighbouring turns, peer's seconds over khub's, by their median: it stays true
    /// where the machine has other work that comes and goes.
    paired_ratio_to_better: f64,
    /// khub's peak of memory over the lower of the peers' peaks.
    memory_ratio: f64,
    /// khub's whole peak over the lower of what the peers took beyond the import of their libraries.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_ratio_over_import: Option<f64>,
}

impl Report {
    fn new(asked: &Asked, courses: &[Course]) -> Self {
        let figures = |name: &str| {
            let course = courses.iter().find(|course| course.name == name)?;
            Some(course.figures(asked.size.tokens_per_step()))
        };
        let khub = figures("khub").expect("khub always runs");
        let (eager, compile) = (figures("eager"), figures("compile"));
        let peers: Vec<&Figures> = [&eager, &compile].into_iter().flatten().collect();
        Self {
            size: asked.size.name(),
            dtype: asked.dtype.name(),
            ratios: Ratios::new(&khub, &peers, paired(courses)),
            khub,
            eager,
            compile,
        }
    }
}

impl Ratios {
    /// None without peers.
    fn new(khub: &Figures, peers: &[&Figures], paired: Option<f64>) -> Option<Self> {
        let quickest = peers
            .iter()
            .map(|peer| peer.tokens_per_s)
            .max_by(f64::total_cmp)?;
        let smallest = peers.iter().map(|peer| peer.peak_rss_bytes).min()?;
        let over_import = peers.iter().filter_map(|peer| peer.over_import_bytes).min();
        let memory = khub.peak_rss_bytes as f64;
        Some(Self {
            ratio_to_better: khub.tokens_per_s / quickest,
            paired_ratio_to_better: paired?,
            memory_ratio: memory / smallest as f64,
            memory_ratio_over_import: over_import.map(|bytes| memory / bytes as f64),
        })
    }
}

/// The lowest, over the peers, of the median ratio between a peer's turn and khub's turn just before it.
fn paired(courses: &[Course]) -> Option<f64> {
    let (khub, peers) = courses.split_first()?;
    let ratio = |(place, peer): (usize, &Course)| {
        let before = khub.turns.iter().skip(place).step_by(peers.len());
        let pairs = before.zip(&peer.turns);
        median(
            pairs
                .map(|(ours, theirs)| theirs.seconds / ours.seconds)
                .collect(),
        )
    };
    peers.iter().enumerate().map(ratio).min_by(f64::total_cmp)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![Figures::COLUMNS.map(String::from).to_vec()];
        rows.push(self.khub.row("khub"));
        rows.extend(self.eager.as_ref().map(|figures| figures.row("eager")));
        rows.extend(self.compile.as_ref().map(|figures| figures.row("compile")));
        write!(f, "size {}, {}\n{}", self.size, self.dtype, table(&rows))?;
        let Some(ratios) = &self.ratios else {
            return Ok(());
        };
        let rows = [
            ("speed against the quicker peer", ratios.ratio_to_better),
            ("  by pairs of turns", ratios.paired_ratio_to_better),
            ("memory against the smaller peer", ratios.memory_ratio),
        ];
        let over_import = ratios.memory_ratio_over_import;
        let over_import = over_import.map(|ratio| ("  beyond the peers' import alone", ratio));
        let row = |(what, ratio): (&str, f64)| vec![what.to_string(), format!("{ratio:.2}")];
        let rows: Vec<_> = rows.into_iter().chain(over_import).map(row).collect();
        f.write_str(table(&rows).trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::super::race::tests::fake;
    use super::*;
    use std::time::Duration;

    fn report(names: &[(&str, &str, u64)]) -> serde_json::Value {
        let folder = tempfile::tempdir().unwrap();
        let workers = names
            .iter()
            .map(|(name, seconds, peak)| (*name, fake(name, seconds, *peak)));
        let rules = Rules {
            word: "step",
            rounds: 1,
            rest: Duration::ZERO,
            logs: folder.path(),
        };
        let asked = Asked {
            size: Size::S,
            dtype: Dtype::F32,
            peer: None,
            steps: 1,
            common: Common {
                threads: None,
                json: true,
                khub: None,
            },
        };
        let report = Report::new(&asked, &race(workers.collect(), &rules).unwrap());
        assert!(report.to_string().contains("khub 1"), "{report}");
        serde_json::to_value(report).unwrap()
    }

    #[test]
    fn each_ratio_is_against_the_peer_that_is_better_at_it() {
        let report = report(&[("khub", "1 1", 300), ("eager", "4", 500), ("compile", "2", 700)]);
        assert_eq!(report["khub"]["tokens_per_s"], 2048.0);
        assert_eq!(report["eager"]["step_ms"], 4000.0);
        assert_eq!(report["ratio_to_better"], 2.0);
        assert_eq!(report["memory_ratio"], 0.6);
        assert_eq!(report["memory_ratio_over_import"], 0.75);
    }

    #[test]
    fn neighbouring_turns_are_compared_as_pairs() {
        let report = report(&[("khub", "2 1", 300), ("eager", "5", 500), ("compile", "2", 700)]);
        let by_medians = report["ratio_to_better"].as_f64().unwrap();
        assert!((by_medians - 2.0 / 1.5).abs() < 1e-12, "{by_medians}");
        assert_eq!(report["paired_ratio_to_better"], 2.0);
    }

    #[test]
    fn khub_alone_has_no_ratio() {
        let report = report(&[("khub", "1", 300)]);
        assert_eq!(report["khub"]["peak_rss_bytes"], 300);
        assert!(report.get("ratio_to_better").is_none() && report.get("eager").is_none());
    }
}
