//! `khub train`: one model on this machine, from a training file to a folder of results.

use crate::data::prepare::prepare;
use crate::data::sets;
use crate::failure::Failure;
use crate::show;
use indicatif::{ProgressBar, ProgressStyle};
use language::{Corpus, Limits, ModelConfig, Recipe, SessionError, Summary, Told, presets, train_recipe};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use train::{AllReduce, Alone, Flow, Workers};

/// Train a language model on this machine, as a TOML file says.
///
/// Leaves the model, its tokeniser, metrics.jsonl, a picture of the losses and checkpoints in a folder. A run
/// that was stopped goes on when the same command is given again.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  khub train --example > small.toml\n  khub train small.toml -o small\n  \
        khub train small.toml --plan\n  khub train small.toml --workers 4\n  \
        mpirun -np 4 khub train small.toml --mpi\n  khub train --presets"
)]
pub(crate) struct Args {
    /// The training file.
    #[arg(required_unless_present_any = ["presets", "example"])]
    file: Option<PathBuf>,
    /// The folder for the results; else the file's name without its ending.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Processes that share each step's samples.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
    /// Share each step's samples with the other processes of an `mpirun` or an `srun`, on one machine or on
    /// many; all see the folders.
    #[arg(long, conflicts_with = "workers")]
    mpi: bool,
    /// Processors to use; 0 takes all.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Say what would be trained, how large it is and what it needs, and train nothing.
    #[arg(long)]
    plan: bool,
    /// List the models that a training file can name, with their sizes.
    #[arg(long, conflicts_with = "file")]
    presets: bool,
    /// Print a training file to begin with.
    #[arg(long, conflicts_with = "file")]
    example: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// A training file to begin with.
const EXAMPLE: &str = include_str!("../train.toml");

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if args.example {
        show::print(EXAMPLE);
        return Ok(());
    }
    if args.presets {
        return list_presets(args.json);
    }
    let file = args.file.as_deref().expect("clap asks for it");
    let text = fs::read_to_string(file).map_err(|error| Failure::unread(file, &error))?;
    let recipe = Recipe::parse(&text).map_err(|error| Failure::file(file, error))?;
    if args.plan {
        return plan(&recipe, args.json);
    }
    let folder = args.output.clone().unwrap_or_else(|| file.with_extension(""));
    if folder == file {
        return Err(
            Failure::new("the training file has no ending, so its name can't be the folder's too")
                .hint("-o DIR"),
        );
    }
    train(args, file, &recipe, &folder)
}

fn train(args: &Args, file: &Path, recipe: &Recipe, folder: &Path) -> Result<(), Failure> {
    check_memory(
        &recipe
            .model(recipe.data.vocab)
            .map_err(|error| Failure::file(file, error))?,
        args.workers,
    )?;
    let (group, data) = if args.mpi {
        set_threads(args.threads, 1)?;
        meet_by_mpi(|first| data_folder(recipe, file, folder, first))?
    } else {
        let joined = Workers::join().map_err(Failure::new)?;
        set_threads(args.threads, usize::from(args.workers))?;
        // The first worker prepares the data before there are others.
        let data = data_folder(recipe, file, folder, joined.is_none())?;
        (meet(joined, args.workers)?, data)
    };
    let first = group.rank() == 0;
    let stop = Arc::new(AtomicBool::new(false));
    let told_to = Arc::clone(&stop);
    ctrlc::set_handler(move || told_to.store(true, Ordering::Relaxed)).map_err(Failure::new)?;
    let bar = if first {
        progress_bar(recipe.train.steps)
    } else {
        ProgressBar::hidden()
    };
    let done = train_recipe(recipe, &data, folder, group, &mut |told| {
        show_told(&bar, told);
        if first && stop.load(Ordering::Relaxed) {
            Flow::Stop
        } else {
            Flow::GoOn
        }
    });
    bar.finish_and_clear();
    match done {
        Ok(_) if !first => Ok(()),
        Ok(summary) if args.json => show::json(&summary),
        Ok(summary) => {
            show::print(&results(&summary));
            Ok(())
        }
        Err(error @ SessionError::Stopped(_)) => {
            eprintln!("{error}");
            Err(Failure::interrupted())
        }
        Err(error) => Err(Failure::new(error)),
    }
}

/// The workers of this machine, of which this is one.
fn meet(joined: Option<Workers>, workers: u16) -> Result<Box<dyn AllReduce>, Failure> {
    Ok(match joined {
        Some(workers) => Box::new(workers),
        None if workers == 1 => Box::new(Alone),
        None => Box::new(Workers::start(usize::from(workers), |_| again()).map_err(Failure::new)?),
    })
}

/// The processes that MPI has started; the others wait until the first has the data ready.
#[cfg(feature = "mpi")]
fn meet_by_mpi(
    data: impl FnOnce(bool) -> Result<PathBuf, Failure>,
) -> Result<(Box<dyn AllReduce>, PathBuf), Failure> {
    let mut group = train::Mpi::start().map_err(Failure::new)?;
    let data = data(group.rank() == 0)?;
    group.sum(&mut [0.0]).map_err(Failure::new)?;
    Ok((Box::new(group), data))
}

#[cfg(not(feature = "mpi"))]
fn meet_by_mpi(
    _: impl FnOnce(bool) -> Result<PathBuf, Failure>,
) -> Result<(Box<dyn AllReduce>, PathBuf), Failure> {
    let hint =
        "`cargo build --release --features mpi`, with Debian's libopenmpi-dev and libclang-dev installed";
    Err(Failure::new("this khub was built without MPI").hint(hint))
}

/// This command once more, as a worker.
fn again() -> Command {
    let program = env::current_exe().unwrap_or_else(|_| "khub".into());
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).stdout(Stdio::null());
    command
}

fn set_threads(threads: usize, workers: usize) -> Result<(), Failure> {
    let all = available_parallelism().map_or(1, usize::from);
    let share = if threads == 0 {
        (all / workers).max(1)
    } else {
        threads
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(share);
    pool.build_global().map_err(Failure::new)
}

/// The folder with the tokens, made if it isn't there. Paths in a training file count from its folder.
fn data_folder(recipe: &Recipe, file: &Path, folder: &Path, first: bool) -> Result<PathBuf, Failure> {
    let data = &recipe.data;
    let home = file.parent().unwrap_or(Path::new(""));
    if let Some(prepared) = &data.prepared {
        return Ok(home.join(prepared));
    }
    let made = folder.join("data");
    if !first {
        return Ok(made);
    }
    let path = match (&data.text, &data.set) {
        (Some(text), _) => home.join(text),
        (None, Some(set)) => {
            let set = sets::named(set)?;
            let missing = || Failure::new(format_args!("the data set {} is not here", set.name));
            let found = set.find();
            found
                .ok_or_else(|| missing().hint(format!("`khub data get {}`", set.name)))?
                .path
        }
        (None, None) => {
            return Err(Failure::file(file, "[data] names no text")
                .hint("text = \"FILE\", set = \"nsmc\", or prepared = \"FOLDER\" of `khub data prepare`"));
        }
    };
    let limits = Limits {
        train_bytes: data.train_bytes.unwrap_or(u64::MAX),
        valid_bytes: data.valid_bytes.unwrap_or(u64::MAX),
    };
    let corpus = Corpus::read_field(&path, data.text_field.as_deref(), limits).map_err(Failure::new)?;
    prepare(&corpus, data.vocab, &made)?;
    Ok(made)
}

fn progress_bar(steps: u64) -> ProgressBar {
    let template = "{bar:30.cyan/blue} {pos} of {len} steps  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is fixed");
    ProgressBar::new(steps).with_style(style)
}

fn show_told(bar: &ProgressBar, told: &Told) {
    match told {
        Told::Begins { done, .. } => {
            bar.set_position(*done);
            bar.reset_eta();
        }
        Told::Step(step, speed) => {
            bar.set_position(step.step + 1);
            let speed = show::grouped(*speed as u64);
            bar.set_message(format!("loss {:.3}  {speed} tokens/s", step.loss));
        }
        Told::Judged(step, judged) => bar.println(format!(
            "step {step:>6}  validation loss {:.4}  {:.4} bits a byte",
            judged.loss, judged.bits_per_byte
        )),
        Told::Note(note) => bar.println(format!("note: {note}")),
    }
}

fn results(summary: &Summary) -> String {
    let folder = summary.folder.display();
    format!(
        "{} parameters, {} steps, {} tokens\n\
         bits a byte  {:.4} before, {:.4} now\n\n\
         {folder} has model.safetensors, tokenizer.json, report.json, metrics.jsonl and loss.svg\n\
         try: khub generate --model {folder} '이 영화는'\n",
        show::grouped(summary.parameters as u64),
        show::grouped(summary.steps),
        show::grouped(summary.tokens),
        summary.first.bits_per_byte,
        summary.last.bits_per_byte,
    )
}

/// A model's needs.
#[derive(serde::Serialize)]
struct Plan {
    parameters: u64,
    parameters_a_token: u64,
    bytes_of_state: u64,
    flops_a_token: f64,
    tokens_a_step: u64,
    steps: u64,
    flops: f64,
    model: ModelConfig,
}

/// Bytes a parameter takes in training: itself, its gradient and two moments, in f32.
const BYTES_A_PARAMETER: u64 = 16;

fn plan(recipe: &Recipe, json: bool) -> Result<(), Failure> {
    let model = recipe.model(recipe.data.vocab).map_err(Failure::new)?;
    let (parameters, active) = model.param_counts();
    let seq = recipe.data.seq.unwrap_or(model.context);
    let tokens = recipe.train.batch as u64 * seq as u64;
    let flops_a_token = model.flops_per_token(seq);
    let plan = Plan {
        parameters,
        parameters_a_token: active,
        bytes_of_state: parameters * BYTES_A_PARAMETER,
        flops_a_token,
        tokens_a_step: tokens,
        steps: recipe.train.steps,
        flops: flops_a_token * tokens as f64 * recipe.train.steps as f64,
        model,
    };
    if json {
        return show::json(&plan);
    }
    show::print(&format!(
        "parameters    {} ({} work on a token)\nstate         {} for parameters, gradient and moments\n\
         a step        {} tokens, {:.3e} operations\nthe run       {} steps, {:.3e} operations, {:.6} PFLOP-hours\n",
        show::grouped(plan.parameters),
        show::grouped(plan.parameters_a_token),
        show::bytes(plan.bytes_of_state),
        show::grouped(plan.tokens_a_step),
        plan.flops_a_token * plan.tokens_a_step as f64,
        show::grouped(plan.steps),
        plan.flops,
        plan.flops / 3.6e18,
    ));
    Ok(())
}

/// Refuses a model that this machine can't hold, before it is made.
fn check_memory(model: &ModelConfig, workers: u16) -> Result<(), Failure> {
    let (parameters, _) = model.param_counts();
    let needed = parameters * BYTES_A_PARAMETER * u64::from(workers);
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let free = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    match free.map(|kilobytes| kilobytes * 1024) {
        Some(free) if needed > free => Err(Failure::new(format_args!(
            "the model has {} parameters: training takes {} at least, and {} are free here",
            show::grouped(parameters),
            show::bytes(needed),
            show::bytes(free)
        ))
        .hint(
            "a smaller preset (`khub train --presets`), or fewer workers; --plan tells what a model needs",
        )),
        _ => Ok(()),
    }
}

fn list_presets(json: bool) -> Result<(), Failure> {
    let sizes = presets().iter().map(|(name, text)| {
        let model = ModelConfig::preset(name).expect("a preset of ours");
        let assumed = text.contains("assumed");
        (*name, model.param_counts(), model, assumed)
    });
    if json {
        let models: Vec<_> = sizes
            .map(|(name, (all, active), model, assumed)| {
                serde_json::json!({ "name": name, "parameters": all, "parameters_a_token": active, "assumed": assumed, "model": model })
            })
            .collect();
        return show::json(&models);
    }
    let rows: Vec<Vec<String>> = sizes
        .map(|(name, (all, active), model, assumed)| {
            let family = format!("{:?}", model.family).to_lowercase();
            let note = if assumed {
                "its shape is assumed in part: it was not published"
            } else {
                ""
            };
            vec![
                name.to_owned(),
                family,
                show::grouped(all),
                show::grouped(active),
                note.to_owned(),
            ]
        })
        .collect();
    show::print(&show::table(
        &["preset", "family", "parameters", "a token's", ""],
        &rows,
    ));
    Ok(())
}
