//! `khub board`: what a programme's jobs have reached, the best first.

use crate::artifact::word;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::show;
use api::Ranking;
use consortium::Programme;

/// Show a programme's leaderboard, of the reports that you may read.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub board folding\n  khub board folding --json")]
pub(crate) struct Args {
    /// Which programme: language, folding, speech, flight or worlds.
    #[arg(value_parser = word::<Programme>)]
    programme: Programme,
    /// As JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let board = args.connect.client()?.board(args.programme)?;
    if args.json {
        return show::json(&board);
    }
    let tables: Vec<String> = board.rankings.iter().map(in_words).collect();
    show::print(&match tables.as_slice() {
        [] => format!("no report of {} that you may read has scores\n", args.programme),
        tables => tables.join("\n"),
    });
    Ok(())
}

/// The measure that ranks comes first.
fn in_words(ranking: &Ranking) -> String {
    let rank_by = ranking.rank_by.as_str();
    let measures = ranking.results.iter().flat_map(|result| result.scores.keys());
    let mut others: Vec<&str> = measures.map(String::as_str).collect();
    others.retain(|measure| *measure != rank_by);
    others.sort_unstable();
    others.dedup();
    let head = ["place", "job", "name", "project", "organisation", rank_by];
    let head: Vec<&str> = head.into_iter().chain(others.iter().copied()).collect();
    let rows = ranking.results.iter().zip(1..).map(|(result, place)| {
        let score = |measure: &&str| {
            let score = result.scores.get(*measure);
            score.map_or("-".to_owned(), |score| format!("{score:.4}"))
        };
        let job = result.job.map_or("-".to_owned(), |job| job.to_string());
        let own = [
            format!("{place}"),
            job,
            result.name.clone(),
            result.report.project.to_string(),
            result.organisation.to_string(),
        ];
        own.into_iter()
            .chain([rank_by].iter().chain(&others).map(score))
            .collect()
    });
    let better = if ranking.higher_is_better { "more" } else { "less" };
    format!(
        "judged on {} by {rank_by}, {better} is better\n{}",
        ranking.judged_on,
        show::table(&head, &rows.collect::<Vec<_>>())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Ranked;
    use consortium::{ArtifactId, Digest, Label};

    #[test]
    fn the_measure_that_ranks_comes_first() {
        let result = |name: &str, scores: &[(&str, f64)]| Ranked {
            job: None,
            name: name.to_owned(),
            report: ArtifactId {
                project: "fold".parse().unwrap(),
                digest: Digest::of(name.as_bytes()),
            },
            label: Label::Open,
            organisation: "gaon".parse().unwrap(),
            scores: scores.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
        };
        let ranking = Ranking {
            judged_on: Digest::of(b"a set"),
            rank_by: "tm".to_owned(),
            higher_is_better: true,
            results: vec![
                result("good", &[("tm", 0.5), ("clashes", 2.0)]),
                result("bad", &[("tm", 0.25)]),
            ],
        };
        let text = in_words(&ranking);
        let (first, table) = text.split_once('\n').unwrap();
        assert!(first.ends_with("by tm, more is better"), "{first}");
        assert_eq!(
            table,
            "place  job  name  project  organisation  tm      clashes\n    \
                 1    -  good  fold     gaon          0.5000   2.0000\n    \
                 2    -  bad   fold     gaon          0.2500        -\n"
        );
    }
}
