//! `khub fold SEQUENCE`: structures from sequences, with how sure each residue is.

use crate::failure::Failure;
use crate::show;
use folding::esm::{self, EsmFold, is_hugging_face};
use folding::net::{LONGEST, Weights};
use folding::{MEMORY, Prediction, Predictor, Sequence, contact_map_png, mmcif, pae_json, pdb, predict_all};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// What to fold, and where to.
#[derive(clap::Args)]
// The command that it is a part of has a group of this struct's name already.
#[group(skip)]
pub(crate) struct Args {
    /// A sequence in the letters of FASTA, or a FASTA or A3M file.
    #[arg(required = true)]
    sequence: Option<String>,
    /// What `khub fold train` left: its folder or its model.safetensors; or a folder of ESMFold from Hugging Face.
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Where the structure goes: a file that ends in .cif or .pdb; for several sequences a folder.
    #[arg(long, short, value_name = "PATH", default_value = "folded.cif")]
    output: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What is told of a structure.
#[derive(Serialize)]
struct Folded {
    name: String,
    residues: usize,
    /// Mean of the residues' confidence, 0 to 100.
    plddt: f32,
    file: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Some(sequence) = &args.sequence else {
        return Err(Failure::new("there is no sequence to fold").hint("khub fold --help"));
    };
    let path = args.weights.as_ref().ok_or_else(|| {
        Failure::new("there are no weights to fold with").hint(
            "--weights PATH: train some with `khub fold train -o PATH`, or find a project's with \
             `khub artifacts PROJECT` and fetch them with `khub fetch`",
        )
    })?;
    let sequences = sequences(sequence)?;
    let longest = if is_hugging_face(path) {
        esm::LONGEST
    } else {
        LONGEST
    };
    if let Some(long) = sequences.iter().find(|sequence| sequence.len() > longest) {
        return Err(Failure::new(format_args!(
            "{} has {} residues: the network folds up to {longest}",
            title(long),
            show::grouped(long.len() as u64)
        ))
        .hint("cut it into its domains"));
    }
    let weights = predictor(path)?;
    let most = sequences.iter().map(Sequence::len).max().unwrap_or(0);
    let needed = show::bytes(weights.memory(1, most));
    let template = "{bar:30.cyan/blue} {pos} of {len} folded  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).expect("the template is fixed");
    let bar = ProgressBar::new(sequences.len() as u64).with_style(style);
    bar.set_message(format!("at most {needed} at a time"));
    let predictions = predict_all(&*weights, &sequences, MEMORY, &mut |done| {
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let mut folded = Vec::new();
    for (i, prediction) in predictions.iter().enumerate() {
        let file = match predictions.len() {
            1 => args.output.clone(),
            _ => args
                .output
                .join(format!("{}.cif", file_stem(&prediction.sequence, i))),
        };
        write(prediction, &file)?;
        folded.push(Folded {
            name: title(&prediction.sequence).to_owned(),
            residues: prediction.sequence.len(),
            plddt: prediction.plddt.iter().sum::<f32>() / prediction.plddt.len().max(1) as f32,
            file,
        });
    }
    if args.json {
        return show::json(&folded);
    }
    let row = |one: &Folded| {
        let confidence = format!("{:.1}", one.plddt);
        let residues = show::grouped(one.residues as u64);
        vec![
            one.name.clone(),
            residues,
            confidence,
            one.file.display().to_string(),
        ]
    };
    let rows: Vec<_> = folded.iter().map(row).collect();
    show::print(&show::table(
        &["sequence", "residues", "pLDDT", "structure"],
        &rows,
    ));
    Ok(())
}

/// What folds, at a place: ESMFold where there is a config.json, else what was trained here.
pub(super) fn predictor(path: &Path) -> Result<Box<dyn Predictor>, Failure> {
    if !is_hugging_face(path) {
        return Ok(Box::new(open(path)?));
    }
    let model = EsmFold::load(path).map_err(|error| {
        Failure::new(error)
            .hint("a folder of ESMFold has its config.json and model.safetensors, or shards of it")
    })?;
    Ok(Box::new(model))
}

/// The weights at a place.
pub(super) fn open(path: &Path) -> Result<Weights, Failure> {
    Weights::load(path).map_err(|error| {
        Failure::new(error).hint("`khub fold train -o DIR` makes weights; give its folder with --weights")
    })
}

fn sequences(named: &str) -> Result<Vec<Sequence>, Failure> {
    let path = Path::new(named);
    if path.exists() {
        return folding::read_sequences(path).map_err(super::failed);
    }
    let sequence = named.parse::<Sequence>().map_err(|error| {
        Failure::new(error)
            .hint("give a sequence such as MKTAYIAKQR, or the name of a FASTA file that is there")
    })?;
    Ok(vec![sequence])
}

fn title(sequence: &Sequence) -> &str {
    match sequence.name.is_empty() {
        true => "the sequence",
        false => &sequence.name,
    }
}

/// A file's name for a sequence: its own name where that can be one.
fn file_stem(sequence: &Sequence, place: usize) -> String {
    let kept = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = sequence.name.chars().map(kept).collect();
    format!("{:04}-{name}", place + 1)
}

/// The structure, the expected errors and the picture of the contacts, side by side.
fn write(prediction: &Prediction, file: &Path) -> Result<(), Failure> {
    let ending = file
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_ascii_lowercase();
    let chain = prediction.chain();
    let text = match ending.as_str() {
        "cif" | "mmcif" => mmcif(&chain, true),
        "pdb" | "ent" => pdb(&chain).map_err(|error| Failure::file(file, error))?,
        _ => return Err(Failure::file(file, "a structure's file ends in .cif or .pdb").hint("-o folded.cif")),
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::create_dir_all(folder).map_err(|error| Failure::file(folder, error))?;
    }
    let put =
        |path: &Path, bytes: &[u8]| nn::write_whole(path, bytes).map_err(|error| Failure::file(path, error));
    put(file, text.as_bytes())?;
    if let Some(pae) = &prediction.pae {
        put(&file.with_extension("pae.json"), pae_json(pae).as_bytes())?;
    }
    if let Some(contacts) = &prediction.contacts {
        put(
            &file.with_extension("contacts.png"),
            &contact_map_png(contacts, None),
        )?;
    }
    Ok(())
}
