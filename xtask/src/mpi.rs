//! `cargo xtask mpi`: workers that `mpirun` has started train what workers of one machine train, to the bit.
//!
//! Open MPI and libclang are Debian's; they are installed if they are missing and this is root. The feature
//! stays out of `cargo xtask test`, which needs no more than a toolchain.

use crate::python::{step, target_folder};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Debian's packages: the library, what starts its processes, and what reads its header for Rust.
const PACKAGES: [&str; 3] = ["libopenmpi-dev", "openmpi-bin", "libclang-dev"];

const RECIPE: &str = "[model]\npreset = 'tiny'\n[data]\ntext = 'text.txt'\nvocab = 300\nseq = 32\n\
    [train]\nbatch = 6\nsteps = 20\nwarmup = 4\n[run]\nevaluate_every = 10\nsave_every = 10\n";

/// Installs, builds, trains three times and compares.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    install()?;
    let target = target_folder(root)?;
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo
            .current_dir(root)
            .args(["build", "--release", "--features", "mpi"])
            .args(arguments);
        step(&mut cargo)
    };
    cargo(&["-p", "khub"])?;
    cargo(&["-p", "train", "--example", "mpi"])?;

    let place = target.join("mpi");
    match fs::remove_dir_all(&place) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(format!("{}: {e}", place.display()));
        }
        _ => (),
    }
    let written = fs::create_dir_all(&place)
        .and_then(|()| fs::write(place.join("text.txt"), text()))
        .and_then(|()| fs::write(place.join("run.toml"), RECIPE));
    written.map_err(|e| format!("{}: {e}", place.display()))?;

    let khub = target.join("release/khub");
    let example = target.join("release/examples/mpi");
    for ranks in ["2", "3"] {
        step(mpirun(&place, ranks).arg(&example))?;
        let train = ["train", "run.toml", "--threads", "1", "-o"];
        step(
            Command::new(&khub)
                .current_dir(&place)
                .args(train)
                .args(["workers", "--workers", ranks]),
        )?;
        step(
            mpirun(&place, ranks)
                .arg(&khub)
                .args(train)
                .args(["mpi", "--mpi"]),
        )?;
        let model = |run: &str| {
            let path = place.join(run).join("model.safetensors");
            fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
        };
        if model("workers")? != model("mpi")? {
            return Err(format!(
                "{ranks} ranks of MPI trained another model than {ranks} workers of one machine"
            ));
        }
        println!("{ranks} ranks: the same model as with {ranks} workers of one machine, bit for bit");
        for run in ["workers", "mpi"] {
            fs::remove_dir_all(place.join(run)).map_err(|e| format!("{run}: {e}"))?;
        }
    }
    Ok(())
}

fn install() -> Result<(), String> {
    let has = |package: &str| {
        let mut dpkg = Command::new("dpkg");
        dpkg.args(["-s", package])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        dpkg.status().is_ok_and(|status| status.success())
    };
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|package| !has(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let hint = |why: String| format!("{why}; install {} by hand", missing.join(", "));
    step(Command::new("apt-get").arg("update")).map_err(hint)?;
    step(
        Command::new("apt-get")
            .args(["install", "-y", "--no-install-recommends"])
            .args(&missing),
    )
    .map_err(hint)
}

/// More ranks than processors are fine for a comparison.
fn mpirun(place: &Path, ranks: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .current_dir(place)
        .args(["--allow-run-as-root", "--oversubscribe", "-np", ranks]);
    command
}

fn text() -> String {
    let words = ["영화가", "재밌다", "정말", "별로", "good", "최고의", "시간이"];
    let line = |i: usize| format!("{i}번째 {} {}\n", words[i % 7], words[(i / 7 + i) % 7]);
    (0..900).map(line).collect()
}
