//! Checkpoints that are written while training goes on.
//!
//! ```text
//! training   step step save step step step save ...      save: wait for the writer, copy the state, go on
//! writer                 \_ digest, write, flush, rename, `latest`, remove old ones _/
//!
//! folder/    step-0000000200.safetensors   step-0000000300.safetensors   latest (the newest one's name)
//! ```
//!
//! A file gets its name once it is whole and on the disk, and older ones are removed after that. So a kill at
//! any moment leaves the last good one.
//!
//! ```no_run
//! # fn example<N: nn::Network>(data: &dyn train::Samples<N::Batch>, mut trainer: train::Trainer<N>)
//! #     -> Result<(), train::Error> {
//! use train::{Flow, Saver, load_latest};
//! let folder = std::path::Path::new("run-7");
//! let mut position = 0;
//! if let Some(saved) = load_latest(folder)? {
//!     trainer.restore(&saved)?;
//!     position = saved.position;
//! }
//! let mut saver = Saver::new(folder, 2, "width = 512", &trainer)?;
//! while position < 64_000 {
//!     trainer.train(data, position, position + 1_600, &mut |_| Flow::GoOn)?;
//!     position += 1_600;
//!     saver.save(&trainer, position)?;
//! }
//! saver.finish()
//! # }
//! ```

use crate::saved::{Form, LATEST, checkpoints, file_name, read};
use crate::{Error, Trainer};
use nn::{CheckpointError, Network, write_whole};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

/// Writes checkpoints of one run into a folder, in a thread.
#[derive(Debug)]
pub struct Saver {
    folder: PathBuf,
    form: Form,
    /// The bytes of a file; none while the writer has them.
    bytes: Option<Vec<u8>>,
    asked: Option<Sender<Job>>,
    done: Receiver<Done>,
    writer: Option<JoinHandle<()>>,
}

/// A file to write.
struct Job {
    step: u64,
    bytes: Vec<u8>,
}

/// One that was written, or not.
struct Done {
    bytes: Vec<u8>,
    result: Result<(), CheckpointError>,
}

impl Saver {
    /// Will write into `folder`, and keep the last `keep` checkpoints. `config` is any text that says what is
    /// trained; it is part of each.
    ///
    /// A folder with a whole checkpoint of a later step than the trainer's is refused: it would be lost.
    pub fn new<N: Network>(
        folder: &Path,
        keep: usize,
        config: impl Into<String>,
        trainer: &Trainer<N>,
    ) -> Result<Self, Error> {
        if keep == 0 {
            return Err(Error::Setting {
                field: "keep",
                value: keep.to_string(),
                wanted: "it takes 1 or more checkpoints",
            });
        }
        fs::create_dir_all(folder).map_err(at(folder))?;
        for (step, path) in checkpoints(folder)? {
            if step > trainer.step && read(&path).is_ok() {
                return Err(Error::InTheWay {
                    path,
                    step,
                    begins: trainer.step,
                });
            }
        }
        let (asked, jobs) = channel::<Job>();
        let (tell, done) = channel();
        let home = folder.to_owned();
        let work = move || {
            for Job { step, mut bytes } in jobs {
                let result = write(&home, step, &mut bytes, keep);
                if tell.send(Done { bytes, result }).is_err() {
                    break;
                }
            }
        };
        let writer = thread::Builder::new().name("checkpoints".into()).spawn(work);
        Ok(Self {
            form: Form::new(trainer, &config.into()),
            bytes: Some(Vec::new()),
            asked: Some(asked),
            done,
            writer: Some(writer.map_err(at(folder))?),
            folder: folder.to_owned(),
        })
    }

    /// Copies the state, to be written while training goes on; `position` is the next in the data order.
    ///
    /// One that is still being written is waited for, not skipped: a run then has the same checkpoints
    /// however slow the disk is. If that one failed, its error comes back and this one isn't taken.
    pub fn save<N: Network>(&mut self, trainer: &Trainer<N>, position: u64) -> Result<(), Error> {
        self.wait()?;
        let mut bytes = self
            .bytes
            .take()
            .expect("the writer is idle, so it has given them back");
        self.form.fill(trainer, position, &mut bytes);
        let job = Job {
            step: trainer.step,
            bytes,
        };
        let asked = self.asked.as_ref().expect("it is there until the end");
        asked.send(job).map_err(|_| self.writer_gone())
    }

    /// Waits until the last checkpoint is on the disk, and tells if it isn't.
    pub fn finish(mut self) -> Result<(), Error> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), Error> {
        if self.bytes.is_some() {
            return Ok(());
        }
        let done = self.done.recv().map_err(|_| self.writer_gone())?;
        self.bytes = Some(done.bytes);
        Ok(done.result?)
    }

    fn writer_gone(&self) -> Error {
        at(&self.folder)(io::Error::other("the thread that writes checkpoints has ended")).into()
    }
}

impl Drop for Saver {
    /// Lets the writer end its work. Its last error is heard by [`Saver::finish`] only.
    fn drop(&mut self) {
        self.asked = None;
        if let Some(writer) = self.writer.take() {
            // A panic of its own was printed by it.
            let _ = writer.join();
        }
    }
}

fn write(folder: &Path, step: u64, bytes: &mut [u8], keep: usize) -> Result<(), CheckpointError> {
    Form::seal(bytes);
    let name = file_name(step);
    let path = folder.join(&name);
    write_whole(&path, bytes).map_err(at(&path))?;
    let latest = folder.join(LATEST);
    write_whole(&latest, name.as_bytes()).map_err(at(&latest))?;
    prune(folder, step, keep)
}

/// Removes all but the last ones up to `step`. What is behind it was damaged when this run began, or it would
/// not have begun; parts of files are of writers that were killed.
fn prune(folder: &Path, step: u64, keep: usize) -> Result<(), CheckpointError> {
    let remove = |path: &Path| fs::remove_file(path).map_err(at(path));
    let (behind, kept): (Vec<_>, Vec<_>) = checkpoints(folder)?.into_iter().partition(|(at, _)| *at > step);
    for (_, path) in behind.iter().chain(kept.iter().skip(keep)) {
        remove(path)?;
    }
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("step-") && name.ends_with(".safetensors.part") {
            remove(&path)?;
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    let path = path.to_owned();
    move |error| CheckpointError::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Adder, RULES, bits, config, losses, trainer};
    use crate::{Precision, Rule, TrainConfig, load_latest};
    use std::env;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use tempfile::{TempDir, tempdir};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// A folder with the checkpoints of steps 1 and 2, and the trainer after them.
    fn two() -> (TempDir, Trainer<Adder>) {
        let folder = tempdir().unwrap();
        let mut trainer = trainer(config());
        let mut saver = Saver::new(folder.path(), 2, "", &trainer).unwrap();
        for step in 0..2 {
            losses(&mut trainer, 8 * step, 8 * (step + 1));
            saver.save(&trainer, 8 * (step + 1)).unwrap();
        }
        saver.finish().unwrap();
        (folder, trainer)
    }

    #[test]
    fn a_stop_leaves_no_trace() {
        for optimizer in RULES {
            for precision in [Precision::F32, Precision::Bf16] {
                for parts in [1, 3] {
                    let config = TrainConfig {
                        optimizer,
                        precision,
                        parts,
                        ..config()
                    };
                    let mut straight = trainer(config.clone());
                    let folder = tempdir().unwrap();
                    let mut saver = Saver::new(folder.path(), 2, "a = 1\nb = \"digest\"", &straight).unwrap();
                    losses(&mut straight, 0, 24);
                    saver.save(&straight, 24).unwrap();
                    // The writer may be at work while training goes on: it has a copy.
                    let expected = losses(&mut straight, 24, 48);
                    saver.finish().unwrap();

                    let saved = load_latest(folder.path()).unwrap().unwrap();
                    assert_eq!((saved.step, saved.position, saved.notes.len()), (3, 24, 0));
                    assert_eq!(saved.config, "a = 1\nb = \"digest\"");
                    let mut resumed = trainer(config.clone());
                    resumed.restore(&saved).unwrap();
                    assert!(losses(&mut resumed, 24, 48) == expected, "{config:?}");
                    assert!(bits(&resumed) == bits(&straight), "{config:?}");
                }
            }
        }
    }

    #[test]
    fn the_last_ones_are_kept_and_the_newest_is_named() {
        let folder = tempdir().unwrap();
        let mut trainer = trainer(config());
        // What a killed writer leaves.
        fs::write(folder.path().join("step-0000000009.safetensors.part"), "half").unwrap();
        let mut saver = Saver::new(folder.path(), 3, "", &trainer).unwrap();
        for step in 0..5 {
            losses(&mut trainer, 8 * step, 8 * (step + 1));
            saver.save(&trainer, 8 * (step + 1)).unwrap();
        }
        saver.finish().unwrap();
        let step = |step| format!("step-000000000{step}.safetensors");
        assert_eq!(names(folder.path()), ["latest".into(), step(3), step(4), step(5)]);
        assert_eq!(fs::read_to_string(folder.path().join("latest")).unwrap(), step(5));
        let error = Saver::new(folder.path(), 0, "", &trainer)
            .unwrap_err()
            .to_string();
        assert!(error.contains("keep is 0: it takes 1 or more"), "{error}");
    }

    #[test]
    fn a_damaged_one_is_named_and_the_one_before_it_taken() {
        let (folder, _) = two();
        let path = folder.path().join(file_name(2));
        let whole = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let end = whole.len();
        let cuts = [
            0,
            1,
            7,
            8,
            9,
            header / 2,
            header - 1,
            header,
            header + 1,
            end / 2,
            end - 4,
            end - 1,
        ];
        let flips = [
            0,
            7,
            8,
            20,
            header / 2,
            header - 1,
            header,
            header + 3,
            end / 2,
            end - 1,
        ];
        let mut cases: Vec<Vec<u8>> = cuts.iter().map(|&cut| whole[..cut].to_vec()).collect();
        cases.extend(flips.iter().map(|&at| {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            flipped
        }));
        cases.push([&whole[..], b"0"].concat());
        for bytes in cases {
            fs::write(&path, &bytes).unwrap();
            let saved = load_latest(folder.path()).unwrap().unwrap();
            assert_eq!((saved.step, saved.position, saved.notes.len()), (1, 8, 1));
            let note = &saved.notes[0];
            let size = format!("({} bytes)", bytes.len());
            assert!(note.contains("step-0000000002") && note.contains(&size), "{note}");
        }
        fs::write(folder.path().join(file_name(1)), "").unwrap();
        let error = load_latest(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no checkpoint in"), "{error}");
        assert!(
            error.contains("step-0000000002") && error.contains("step-0000000001"),
            "{error}"
        );
        // Damaged ones are in nobody's way.
        Saver::new(folder.path(), 2, "", &trainer(config()))
            .unwrap()
            .finish()
            .unwrap();
    }

    /// A kill leaves a part of a file beside its place, or a new file that `latest` doesn't name yet, or old
    /// ones that weren't removed yet.
    #[test]
    fn a_kill_between_the_writer_s_steps_loses_nothing() {
        let (folder, _) = two();
        let path = |name: &str| folder.path().join(name);
        let whole = fs::read(path(&file_name(2))).unwrap();
        for cut in (0..whole.len()).step_by(997) {
            fs::write(path("step-0000000003.safetensors.part"), &whole[..cut]).unwrap();
            assert_eq!(load_latest(folder.path()).unwrap().unwrap().step, 2);
        }
        for latest in ["step-0000000001.safetensors", "", "nonsense"] {
            fs::write(path("latest"), latest).unwrap();
            let saved = load_latest(folder.path()).unwrap().unwrap();
            assert_eq!((saved.step, saved.notes.len()), (2, 0));
        }
        fs::copy(path(&file_name(1)), path(&file_name(0))).unwrap();
        assert_eq!(load_latest(folder.path()).unwrap().unwrap().step, 2);
        assert!(load_latest(&path("nowhere")).unwrap().is_none());
    }

    /// A process that saves after every step, killed somewhere in the midst of it.
    #[test]
    fn a_killed_process_goes_on_from_its_last_save_or_the_one_before() {
        const FOLDER: &str = "KHUB_TEST_KILLED";
        if let Some(folder) = env::var_os(FOLDER) {
            let mut trainer = trainer(config());
            let mut saver = Saver::new(Path::new(&folder), 2, "", &trainer).unwrap();
            loop {
                losses(&mut trainer, 0, 8);
                saver.save(&trainer, 0).unwrap();
                println!("saved {}", trainer.step);
            }
        }
        for lines in [1, 2, 3, 5, 8, 13] {
            let folder = tempdir().unwrap();
            let mut child = Command::new(env::current_exe().unwrap())
                .args(["saver::tests::a_killed_process_goes_on_from_its_last_save_or_the_one_before"])
                .args(["--exact", "--nocapture"])
                .env(FOLDER, folder.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let said = BufReader::new(child.stdout.take().unwrap()).lines();
            let steps = said.filter_map(|line| line.unwrap().rsplit_once("saved ")?.1.parse::<u64>().ok());
            let told = steps.take(lines).last().unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            let saved = load_latest(folder.path()).unwrap();
            let step = saved.as_ref().map_or(0, |saved| saved.step);
            assert!(
                step + 1 >= told,
                "step {told} was asked for, and step {step} is there"
            );
            let Some(saved) = saved else { continue };
            assert_eq!(saved.notes, [""; 0]);
            let mut resumed = trainer(config());
            resumed.restore(&saved).unwrap();
        }
    }

    #[test]
    fn what_went_wrong_is_heard_at_the_next_save_and_at_the_end() {
        let (folder, mut trainer) = two();
        let mut saver = Saver::new(folder.path(), 2, "", &trainer).unwrap();
        // A folder where the file should go.
        losses(&mut trainer, 16, 24);
        let obstacle = folder.path().join(file_name(3));
        fs::create_dir_all(obstacle.join("full")).unwrap();
        saver.save(&trainer, 24).unwrap();
        let error = saver.save(&trainer, 24).unwrap_err().to_string();
        assert!(error.contains("step-0000000003"), "{error}");
        saver.save(&trainer, 24).unwrap();
        let error = saver.finish().unwrap_err().to_string();
        assert!(error.contains("step-0000000003"), "{error}");
        fs::remove_dir_all(obstacle).unwrap();
        assert_eq!(
            load_latest(folder.path()).unwrap().unwrap().step,
            2,
            "the last good one is there"
        );
    }

    #[test]
    fn another_run_s_checkpoints_are_not_overwritten() {
        let (folder, _) = two();
        let error = Saver::new(folder.path(), 2, "", &trainer(config()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("checkpoint of step 2, and the run begins at step 0"),
            "{error}"
        );
        let saved = load_latest(folder.path()).unwrap().unwrap();
        let muon = TrainConfig {
            optimizer: Rule::Muon,
            ..config()
        };
        let error = trainer(muon).restore(&saved).unwrap_err().to_string();
        assert!(
            error.contains("\"adamw\", and the configuration says \"muon\""),
            "{error}"
        );
    }

    #[test]
    fn a_loss_that_is_no_number_leaves_the_last_good_one() {
        let (folder, mut trainer) = two();
        let good = bits(&trainer);
        let last = trainer.model.params.len() - 1;
        trainer.model.params[last] = f32::NAN;
        let error = trainer
            .train(&crate::toy::Sums, 16, 24, &mut |_| crate::Flow::GoOn)
            .unwrap_err();
        assert!(error.to_string().contains("NaN at step 2"), "{error}");
        trainer
            .restore(&load_latest(folder.path()).unwrap().unwrap())
            .unwrap();
        assert!(bits(&trainer) == good);
    }
}
