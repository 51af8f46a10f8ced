//! Jobs in containers: what starts a script in an image, on whichever machine it runs.

use super::task::Task;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::{Command, Stdio};

/// A program that runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Container {
    /// Apptainer.
    Apptainer,
    /// Its older name, and its sibling of that name: the commands are the same.
    Singularity,
    /// Enroot.
    Enroot,
}

impl Container {
    /// The first of them that is on this machine.
    pub fn found() -> Option<Self> {
        let all = [Self::Apptainer, Self::Singularity, Self::Enroot];
        all.into_iter().find(|container| {
            let asks = match container {
                Self::Enroot => "version",
                _ => "--version",
            };
            let mut command = Command::new(container.to_string());
            let quiet = command
                .arg(asks)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            quiet.status().is_ok_and(|ended| ended.success())
        })
    }

    /// For `run.sh`, in the job's folder: what comes before, and what starts the script. `image` is quoted.
    pub(super) fn lines(self, image: &str, task: &Task) -> (String, String) {
        match self {
            Self::Apptainer | Self::Singularity => {
                let gpus = "$([ -e /dev/nvidiactl ] && echo --nv)";
                let run = format!("{self} exec {gpus} --bind \"$PWD\" --pwd \"$PWD\" {image} ./script");
                (String::new(), run)
            }
            Self::Enroot => {
                let is_address = image.contains("://");
                let fetch = match is_address {
                    true => format!(
                        "[ -e image.sqsh ] || ${{KHUB_LIMIT:-}} enroot import -o image.sqsh {image} > log-{} 2>&1 < /dev/null\n",
                        task.attempt
                    ),
                    false => String::new(),
                };
                let image = if is_address { "image.sqsh" } else { image };
                let names = task.environment();
                let names = names
                    .iter()
                    .map(|(name, _)| *name)
                    .chain(["CUDA_VISIBLE_DEVICES"]);
                let names: String = names.map(|name| format!("--env {name} ")).collect();
                let run = format!(
                    "enroot start --rw {names}--mount \"$PWD:$PWD\" {image} sh -c 'cd \"$0\" && exec ./script' \"$PWD\""
                );
                (fetch, run)
            }
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Apptainer => "apptainer",
            Self::Singularity => "singularity",
            Self::Enroot => "enroot",
        })
    }
}
