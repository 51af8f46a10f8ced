//! A site's stay in a job: takes the steps that [`crate::step`] names.

use crate::program::Program;
use crate::step::{Done, Step, next};
use crate::{Heard, Site, SiteError, files};
use api::{ApiError, Client, Progress, SiteJob, measure};
use consortium::{ArtifactId, ArtifactKind, Digest, JobId, Output, Reading, SiteId, Update, Usage};
use std::fs;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};
use sync::contract::{Accepted, JobFile, Rounds, Written};
use sync::{JobFolder, Order, Said};

/// How often a program that ends without a word is started again.
const RESTARTS: u32 = 3;
/// How often people see a new number.
const PROGRESS_EVERY: Duration = Duration::from_millis(400);

pub(crate) struct Stay {
    job: SiteJob,
    site: SiteId,
    folder: JobFolder,
    tell: Sender<Heard>,
    done: Done,
    joined: Instant,
    usage: Usage,
    program: Option<Program>,
    update: Option<Update>,
    /// Applied rounds that the hub doesn't know of yet, with the digests reached.
    untold: Vec<(u32, Digest)>,
    outputs: Vec<Written>,
    progress: Option<Progress>,
    progress_told: Instant,
    ends: u32,
    failure: Option<String>,
}

/// What follows a step.
pub(crate) enum After {
    /// Another step.
    Again,
    /// Something must be heard first.
    Wait,
    /// The stay is over.
    Left,
}

impl Stay {
    pub(crate) fn new(job: SiteJob, site: &Site) -> Self {
        let folder = JobFolder::new(site.config.folder.join("jobs").join(job.id.to_string()));
        Self {
            job,
            site: site.id.clone(),
            folder,
            tell: site.tell.clone(),
            done: Done::default(),
            joined: Instant::now(),
            usage: Usage::default(),
            program: None,
            update: None,
            untold: Vec::new(),
            outputs: Vec::new(),
            progress: None,
            progress_told: Instant::now(),
            ends: 0,
            failure: None,
        }
    }

    pub(crate) fn id(&self) -> JobId {
        self.job.id
    }

    /// How many rounds are applied here.
    pub(crate) fn committed(&self) -> u32 {
        self.done.committed.unwrap_or(0)
    }

    pub(crate) fn runs(&self, program: u64) -> bool {
        self.program
            .as_ref()
            .is_some_and(|running| running.number == program)
    }

    /// How the job stands now.
    pub(crate) fn update(&mut self, job: SiteJob) {
        self.job = job;
    }

    /// What the program said.
    pub(crate) fn hear(&mut self, said: Said, log: &dyn Fn(&str)) {
        match said {
            Said::Ready { committed, .. } => self.done.committed = Some(committed),
            Said::Note { message } => log(&format!("{}: {message}", self.id())),
            Said::Progress {
                round,
                step,
                loss,
                tokens,
                tokens_per_s,
            } => {
                self.progress = Some(Progress {
                    round,
                    step,
                    loss,
                    tokens,
                    tokens_per_s,
                });
            }
            Said::Update {
                round,
                file,
                tokens,
                steps,
                loss,
                parameters,
            } => {
                self.done.busy = false;
                match measure(&self.folder.file(&file)) {
                    Ok((digest, bytes)) => {
                        let loss_micronats = (f64::from(loss) * 1e6) as i64;
                        self.update = Some(Update {
                            digest,
                            bytes,
                            tokens,
                            parameters,
                            steps,
                            loss_micronats,
                        });
                        self.done.update = Some(round);
                    }
                    Err(error) => self.failure = Some(format!("its update {file} can't be read: {error}")),
                }
            }
            Said::Committed { round, outer } => {
                self.done.busy = false;
                self.done.committed = Some(round + 1);
                self.ends = 0;
                match outer.parse() {
                    Ok(digest) => self.untold.push((round, digest)),
                    Err(error) => self.failure = Some(error.to_string()),
                }
                self.done.untold = true;
            }
            Said::Done { outputs } => {
                self.done.busy = false;
                self.done.finished = true;
                self.outputs = outputs;
            }
            Said::Failed { message } => self.failure = Some(message),
        }
    }

    /// The program has ended: as it should once the results are written, and else too early.
    pub(crate) fn mourn(&mut self, how: &str, log: &dyn Fn(&str)) {
        if self.done.finished {
            return;
        }
        log(&format!("{}: the program ended: {how}", self.id()));
        self.forget_program();
        self.ends += 1;
        if self.ends > RESTARTS {
            self.failure
                .get_or_insert(format!("it ended {} times without a word: {how}", self.ends));
        }
    }

    /// Takes the next step.
    pub(crate) fn step(&mut self, site: &Site, log: &dyn Fn(&str)) -> Result<After, SiteError> {
        let client = &site.config.client;
        self.show_progress(client);
        if let (Some(message), Some(attempt)) = (&self.failure, self.done.attempt) {
            log(&format!("{} failed: {message}", self.id()));
            return match client.fail(self.job.id, attempt, message) {
                // This stay is over for the hub; the next is there to say so.
                Err(error) if error.status() == Some(409) => {
                    self.done.attempt = None;
                    Ok(After::Again)
                }
                other => Ok(other.map(|_| After::Left)?),
            };
        }
        match next(&self.job, &self.done) {
            Step::Wait => return Ok(After::Wait),
            Step::Fetch => self.fetch_inputs(client)?,
            Step::Join => {
                let attempt = client.join(self.job.id)?;
                log(&format!("{}: joined, attempt {attempt}", self.id()));
                self.done.attempt = Some(attempt);
                self.joined = Instant::now();
                self.usage = Usage::default();
            }
            Step::Reset => {
                log(&format!(
                    "{}: the weights here differ from the others'; replaying all rounds",
                    self.id()
                ));
                self.forget_program();
                remove(&self.folder.checkpoint())?;
            }
            Step::Start => {
                let name = &self.job.spec.program;
                let config = &site.config;
                let program = Program::start(
                    &config.programs,
                    name,
                    self.folder.root(),
                    config.threads,
                    &self.tell,
                )?;
                self.program = Some(program);
                self.done.started = true;
            }
            Step::Tell => self.tell_rounds(client)?,
            Step::Commit(round) => self.commit(client, round)?,
            Step::Train(round, interval) => {
                self.order(&Order::Train {
                    round,
                    first: interval.first,
                    end: interval.end,
                });
            }
            Step::Contribute => self.contribute(client, log)?,
            Step::Drop => {
                self.done.update = None;
                self.update = None;
            }
            Step::Finish => self.order(&Order::Finish),
            Step::Leave => {
                self.leave(client)?;
                log(&format!("{}: left", self.id()));
                return Ok(After::Left);
            }
        }
        Ok(After::Again)
    }

    /// Sends the meter's totals of this attempt.
    pub(crate) fn meter(&self, client: &Client) -> Result<(), ApiError> {
        let Some(attempt) = self.done.attempt else {
            return Ok(());
        };
        let millis = u64::try_from(self.joined.elapsed().as_millis()).unwrap_or(u64::MAX);
        let reading = Reading {
            attempt,
            total: Usage { millis, ..self.usage },
        };
        client.meter(self.job.id, &reading).map(drop)
    }

    /// Stops the program and removes the job's folder: results stay at the hub, not at the sites.
    pub(crate) fn clear(mut self) {
        self.forget_program();
        // A folder that can't be removed now is removed or reused when the job comes here again.
        let _ = remove(self.folder.root());
    }

    fn fetch_inputs(&mut self, client: &Client) -> Result<(), SiteError> {
        for part in ["inputs", "updates", "outputs"] {
            make(&self.folder.file(part))?;
        }
        for (name, digest) in &self.job.spec.inputs {
            files::fetch(client, &self.artifact(*digest), &self.folder.input(name))?;
        }
        let spec = &self.job.spec;
        let job = JobFile {
            name: spec.name.clone(),
            job: self.job.id.to_string(),
            site: self.site.to_string(),
            program: spec.program.clone(),
            label: self.job.label.to_string(),
            inputs: spec
                .inputs
                .iter()
                .map(|(name, digest)| (name.clone(), digest.to_string()))
                .collect(),
            rounds: Rounds {
                count: spec.rounds.count,
                samples: spec.rounds.samples,
            },
            settings: spec.settings.clone(),
        };
        match toml::to_string(&job) {
            Ok(text) => fs::write(self.folder.job(), text).map_err(at(&self.folder.job()))?,
            Err(error) => self.failure = Some(format!("its settings can't be written as TOML: {error}")),
        }
        self.done.fetched = true;
        Ok(())
    }

    fn commit(&mut self, client: &Client, number: u32) -> Result<(), SiteError> {
        let Some(round) = self.job.closed.iter().find(|round| round.number == number) else {
            return Ok(());
        };
        let mut updates = Vec::new();
        for (site, update) in &round.updates {
            let file = JobFolder::update_file(number, site.as_str());
            self.usage.received +=
                files::fetch(client, &self.artifact(update.digest), &self.folder.file(&file))?;
            updates.push(Accepted {
                site: site.to_string(),
                tokens: update.tokens,
                file,
            });
        }
        self.order(&Order::Commit {
            round: number,
            updates,
        });
        Ok(())
    }

    fn contribute(&mut self, client: &Client, log: &dyn Fn(&str)) -> Result<(), SiteError> {
        let (Some(update), Some(round), Some(attempt)) =
            (self.update.clone(), self.done.update, self.done.attempt)
        else {
            return Ok(());
        };
        let file = self
            .folder
            .file(&JobFolder::update_file(round, self.site.as_str()));
        client.upload(&file, &update.digest)?;
        self.usage.sent += update.bytes;
        match client.contribute(self.job.id, round, attempt, &update) {
            Ok(_) => self.done.contributed = Some(round),
            // The round closed without it, or the stay is over: fresh orders will tell which.
            Err(error) if error.status() == Some(409) => log(&format!("{}: {error}", self.id())),
            Err(error) => return Err(error.into()),
        }
        self.done.update = None;
        self.update = None;
        Ok(())
    }

    fn tell_rounds(&mut self, client: &Client) -> Result<(), SiteError> {
        let Some(attempt) = self.done.attempt else {
            return Ok(());
        };
        while let Some((round, outer)) = self.untold.first() {
            client.applied(self.job.id, *round, attempt, outer)?;
            remove_updates(&self.folder, *round);
            self.untold.remove(0);
        }
        self.done.untold = false;
        Ok(())
    }

    fn leave(&mut self, client: &Client) -> Result<(), SiteError> {
        let Some(attempt) = self.done.attempt else {
            return Ok(());
        };
        let mut outputs = Vec::new();
        for written in if self.job.results {
            &[]
        } else {
            self.outputs.as_slice()
        } {
            let path = self.folder.file(&written.file);
            let (digest, bytes) = measure(&path).map_err(at(&path))?;
            client.upload(&path, &digest)?;
            outputs.push(Output {
                id: self.artifact(digest),
                name: written.name.clone(),
                kind: kind(&written.kind),
                bytes,
                label: self.job.label,
                made_from: self.job.spec.inputs.values().copied().collect(),
            });
        }
        match self.meter(client) {
            // A reading that is refused must not keep the results from coming.
            Ok(()) | Err(ApiError::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        client.leave(self.job.id, attempt, &outputs)?;
        Ok(())
    }

    fn artifact(&self, digest: Digest) -> ArtifactId {
        ArtifactId {
            project: self.job.spec.project.clone(),
            digest,
        }
    }

    fn order(&mut self, order: &Order) {
        self.done.busy = true;
        if let Some(program) = &mut self.program {
            program.order(order);
        }
    }

    fn show_progress(&mut self, client: &Client) {
        if self.progress_told.elapsed() < PROGRESS_EVERY {
            return;
        }
        if let Some(progress) = self.progress.take() {
            self.progress_told = Instant::now();
            // For people's eyes alone; the next one is as good.
            let _ = client.progress(self.job.id, &progress);
        }
    }

    fn forget_program(&mut self) {
        self.program = None;
        self.update = None;
        self.untold.clear();
        let Done {
            fetched,
            attempt,
            contributed,
            ..
        } = self.done;
        self.done = Done {
            fetched,
            attempt,
            contributed,
            ..Done::default()
        };
    }
}

fn kind(word: &str) -> ArtifactKind {
    match word {
        "dataset" => ArtifactKind::Dataset,
        "tokenizer" => ArtifactKind::Tokenizer,
        "model" => ArtifactKind::Model,
        "metrics" => ArtifactKind::Metrics,
        _ => ArtifactKind::Report,
    }
}

/// Applied updates are in the weights; the hub keeps them for those who come later.
fn remove_updates(folder: &JobFolder, round: u32) {
    let prefix = format!("{round:06}-");
    let files = fs::read_dir(folder.file("updates"))
        .into_iter()
        .flatten()
        .flatten();
    for file in files.filter(|file| file.file_name().to_string_lossy().starts_with(&prefix)) {
        let _ = fs::remove_file(file.path());
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> SiteError {
    let path = path.to_owned();
    move |why| SiteError::File { path, why }
}

fn make(path: &Path) -> Result<(), SiteError> {
    fs::create_dir_all(path).map_err(at(path))
}

fn remove(path: &Path) -> Result<(), SiteError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
