//! `khub audit`: the whole log checked, against itself and against what the hub has signed.

use crate::failure::Failure;
use crate::folder::Data;
use crate::ledger;
use crate::show;
use consortium::Digest;
use std::fs;
use std::path::PathBuf;
use store::{Reader, Seal};

/// Check and hand out the log.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Verify(Verify),
    Export(Export),
}

/// Prove that nobody has changed the log: its chain, the ledger, and every seal that the hub has signed.
///
/// A seal is a signed note of the log's end. Keep one elsewhere from time to time (`seals.jsonl` in the data
/// folder has them all) and give it with --seal: against a log that was made anew with another key, only that
/// helps.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub audit verify\n  \
    khub audit verify --seal noted-in-march.jsonl --key 9f0c...")]
struct Verify {
    #[command(flatten)]
    data: Data,
    /// A file of seals that were kept elsewhere.
    #[arg(long, value_name = "FILE")]
    seal: Option<PathBuf>,
    /// The hub's public key as it was noted, in hex; else the one that most lately signed.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Print the log as lines of JSON: who asked, when, what happened, and each record's hash.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  khub audit export --from 1000 > log-from-1000.jsonl")]
struct Export {
    #[command(flatten)]
    data: Data,
    /// The first record.
    #[arg(long, default_value_t = 1)]
    from: u64,
}

/// How many records are read at once.
const PAGE: u64 = 1_000;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Verify(args) => verify(args),
        Command::Export(args) => export(args),
    }
}

fn verify(args: &Verify) -> Result<(), Failure> {
    // First, for the log may grow meanwhile: what it grows by is sealed later.
    let mut seals = store::seals(&args.data.folder)?;
    let verified = ledger::verify(args.data.log())?;
    if let Some(file) = &args.seal {
        let text = fs::read_to_string(file).map_err(|e| Failure::unread(file, &e))?;
        for line in text.lines() {
            let seal = serde_json::from_str(line);
            seals.push(seal.map_err(|e| Failure::file(file, format_args!("a line is no seal: {e}")))?);
        }
    }
    let newest = seals.last().map(|seal: &Seal| seal.key.clone());
    let key = args.key.clone().or(newest);
    let reader = Reader::open(args.data.log())?;
    for seal in &seals {
        check(&reader, seal, key.as_deref())?;
    }
    let covered = seals.iter().map(|seal| seal.seq).max().unwrap_or(0);
    if args.json {
        return show::json(&serde_json::json!({
            "records": verified.records, "postings": verified.postings, "head": verified.head,
            "seals": seals.len(), "sealed": covered, "key": key,
        }));
    }
    let words = match &key {
        None => "there is no seal yet\n".to_owned(),
        Some(key) => format!(
            "{} seals of key {key} agree, up to record {covered}\n",
            seals.len()
        ),
    };
    show::print(&format!("{}\n{words}", ledger::in_words(&verified)));
    Ok(())
}

fn check(reader: &Reader, seal: &Seal, key: Option<&str>) -> Result<(), Failure> {
    let seq = seal.seq;
    let wrong = |what: &str| Failure::new(format_args!("the seal at record {seq} {what}"));
    if !seal.is_signed() {
        return Err(wrong("doesn't bear its key's signature: it was changed"));
    }
    if key.is_some_and(|key| key != seal.key) {
        return Err(wrong("was made with another key")
            .hint("a hub keeps its key in seal.key; whoever replaced it may have replaced the log too"));
    }
    let record: Option<Digest> = reader.records(seq, 1)?.first().map(|record| record.hash);
    match record {
        Some(hash) if hash == seal.head => Ok(()),
        None if seq == 0 => Ok(()),
        Some(_) => Err(wrong("is of another log: that record has another hash now")),
        None => Err(wrong("is of a longer log: that record is gone")),
    }
}

fn export(args: &Export) -> Result<(), Failure> {
    let reader = Reader::open(args.data.log())?;
    let mut from = args.from.max(1);
    loop {
        let records = reader.records(from, PAGE)?;
        let Some(last) = records.last() else { return Ok(()) };
        from = last.seq + 1;
        let lines = records.iter().map(|record| {
            let (seq, at) = (record.seq, record.at);
            let line = serde_json::json!({
                "seq": seq, "at": at, "actor": record.actor, "events": record.events, "hash": record.hash,
            });
            format!("{line}\n")
        });
        show::print(&lines.collect::<String>());
    }
}
