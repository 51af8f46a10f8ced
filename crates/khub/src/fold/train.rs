//! `khub fold train`: the network that folds, from a folder of structures to a folder of results.

use super::{chains, structures};
use crate::failure::Failure;
use crate::show;
use folding::net::{NetError, Settings, Summary, Told, train};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use train::Flow;

/// Train the network that folds, on structures.
///
/// Leaves the weights, metrics.jsonl, a picture of the losses and checkpoints in a folder. A run that was stopped
/// goes on when the same command is given again. The weights hold the structures that it learned from: they are
/// as restricted as those.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  khub fold train -o folder\n  \
        khub fold train --structures my-structures --steps 2000 -o folder\n  \
        khub fold train --settings folding.toml -o folder\n\nA settings file has the tables [shape], [changes], \
        [train] and [run]; report.json of a run shows all of them.")]
pub(crate) struct Args {
    /// The folder of PDB and mmCIF files to learn from; else `train` of the data set `proteins`.
    #[arg(long, value_name = "DIR")]
    structures: Option<PathBuf>,
    /// The folder for the results.
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// What differs from the defaults, in TOML.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Steps; replaces that of the settings.
    #[arg(long)]
    steps: Option<u64>,
    /// The seed; replaces that of the settings.
    #[arg(long)]
    seed: Option<u64>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let folder = structures(args.structures.as_deref(), "train", "learn from")?;
    let mut settings = match &args.settings {
        Some(file) => {
            let text = fs::read_to_string(file).map_err(|error| Failure::unread(file, &error))?;
            toml::from_str(&text).map_err(|error| Failure::file(file, error))?
        }
        None => Settings::default(),
    };
    settings.train.steps = args.steps.unwrap_or(settings.train.steps);
    settings.train.seed = args.seed.unwrap_or(settings.train.seed);
    let chains = chains(&folder)?;
    let stop = Arc::new(AtomicBool::new(false));
    let told_to = Arc::clone(&stop);
    ctrlc::set_handler(move || told_to.store(true, Ordering::Relaxed)).map_err(Failure::new)?;
    let template = "{bar:30.cyan/blue} {pos} of {len} {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is fixed");
    let bar = ProgressBar::new(chains.len() as u64).with_style(style);
    let done = train(&chains, &settings, &args.output, &mut |told| {
        show_told(&bar, told);
        match stop.load(Ordering::Relaxed) {
            true => Flow::Stop,
            false => Flow::GoOn,
        }
    });
    bar.finish_and_clear();
    match done {
        Ok(summary) if args.json => show::json(&summary),
        Ok(summary) => {
            show::print(&results(&summary));
            Ok(())
        }
        Err(error @ NetError::Stopped(_)) => {
            eprintln!("{error}");
            Err(Failure::interrupted())
        }
        Err(error) => Err(Failure::new(error)),
    }
}

fn show_told(bar: &ProgressBar, told: &Told) {
    let place = |done: usize, all: usize, what: &str| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(what.to_owned());
    };
    match told {
        Told::Relatives(done, all) => place(*done, *all, "chains' relatives looked for"),
        Told::Folded(done, all) => place(*done, *all, "held-out chains folded"),
        Told::Begins {
            parameters,
            chains: (learned, held_out),
            done,
            steps,
        } => {
            let sizes = [*parameters, *learned, *held_out].map(|x| show::grouped(x as u64));
            let [parameters, learned, held_out] = sizes;
            bar.println(format!(
                "{parameters} parameters, {learned} chains to learn from, {held_out} held out"
            ));
            bar.set_length(*steps);
            bar.set_position(*done);
            bar.reset_eta();
        }
        Told::Step(step, speed) => {
            bar.set_position(step.step + 1);
            let speed = show::grouped(*speed as u64);
            bar.set_message(format!("steps  loss {:.3}  {speed} residues/s", step.loss));
        }
        Told::Looked(step, looked) => bar.println(format!(
            "step {step:>6}  held-out loss {:.4}  contacts P@L/2 {:.3}",
            looked.loss, looked.contact_precision
        )),
        Told::Note(note) => bar.println(format!("note: {note}")),
    }
}

fn results(summary: &Summary) -> String {
    let folder = summary.folder.display();
    format!(
        "{} parameters, {} chains, {} steps\n\
         {} chains held out: loss {:.4}, contacts P@L/2 {:.3}, lDDT-CA {:.3}\n\n\
         {folder} has model.safetensors, report.json, metrics.jsonl and loss.svg\n\
         try: khub fold eval --weights {folder}\n",
        show::grouped(summary.parameters as u64),
        show::grouped(summary.chains as u64),
        show::grouped(summary.steps),
        show::grouped(summary.held_out as u64),
        summary.last.loss,
        summary.last.contact_precision,
        summary.lddt_ca,
    )
}
