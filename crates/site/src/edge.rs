//! The edge between the machine and the world: the hub over HTTP, files, programs and the clock.

use crate::batch;
use crate::machine::{Answer, Do, Files, Heard, Machine};
use crate::poll::Poller;
use crate::program::Program;
use crate::{SiteConfig, SiteError};
use api::{ApiError, Bytes, measure};
use consortium::{Actor, ArtifactId, Command, SiteId};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;
use sync::JobFolder;

/// What the site's one thread hears of.
pub(crate) enum Word {
    /// Something for the machine.
    Heard(Heard),
    /// Something for people.
    Note(String),
    /// The hub refuses to give orders.
    Refused(ApiError),
    /// Somebody wants the site to stop.
    Stop,
}

/// A site, ready to run.
pub struct Site {
    config: SiteConfig,
    id: SiteId,
    words: Receiver<Word>,
    tell: Sender<Word>,
}

impl Site {
    /// Asks the hub whom the credential speaks for.
    pub fn new(config: SiteConfig) -> Result<Self, SiteError> {
        let id = match config.client.me()?.actor {
            Actor::Site(id) => id,
            other => return Err(SiteError::NotASite(other.to_string())),
        };
        make(&config.folder.join("jobs"))?;
        let (tell, words) = channel();
        Ok(Self {
            config,
            id,
            words,
            tell,
        })
    }

    /// Its name.
    pub fn id(&self) -> &SiteId {
        &self.id
    }

    /// A handle that stops the site from another thread.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let tell = self.tell.clone();
        // A site that has stopped already hears nothing.
        move || drop(tell.send(Word::Stop))
    }

    /// Works until it is stopped, or until the hub refuses it for good. `log` gets a line for people.
    pub fn run(self, log: &dyn Fn(&str)) -> Result<(), SiteError> {
        let began = Instant::now();
        let mut machine = Machine::new(self.id.clone());
        let mut hands = Hands {
            site: &self,
            poller: Poller::start(self.config.client.clone(), self.id.clone(), self.tell.clone()),
            log,
            program: None,
        };
        let (client, folder) = (self.config.client.clone(), &self.config.folder);
        let batches = batch::start(
            client,
            self.id.clone(),
            folder,
            &self.config.batches,
            self.tell.clone(),
        );
        log(&format!("site {} is ready", self.id));
        loop {
            match self.words.recv_timeout(machine.patience(began.elapsed())) {
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    if let Some(last) = machine.reading(began.elapsed()) {
                        // A hub that doesn't hear it charges for less.
                        let _ = hands.carry_out(last);
                    }
                    return Ok(());
                }
                Ok(Word::Refused(error)) => return Err(error.into()),
                Ok(Word::Heard(Heard::Orders(mut orders))) => {
                    let of_batches = orders.jobs.extract_if(.., |job| job.spec.batch.is_some());
                    // The thread ends only with this one.
                    let _ = batches.send(of_batches.collect());
                    machine.hear(Heard::Orders(orders), began.elapsed());
                }
                Ok(Word::Heard(heard)) => machine.hear(heard, began.elapsed()),
                Ok(Word::Note(line)) => log(&line),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some(todo) = machine.next(began.elapsed()) {
                let answer = hands.carry_out(todo);
                machine.answer(answer, began.elapsed())?;
            }
            hands.poller.wants(machine.committed());
        }
    }
}

/// What does as the machine says.
struct Hands<'a> {
    site: &'a Site,
    poller: Poller,
    log: &'a dyn Fn(&str),
    program: Option<Program>,
}

impl Hands<'_> {
    fn carry_out(&mut self, todo: Do) -> Result<Answer, SiteError> {
        let config = &self.site.config;
        let client = &config.client;
        let folder = |job| JobFolder::new(config.folder.join("jobs").join(format!("{job}")));
        match todo {
            Do::Ask(command) => return self.ask(command),
            Do::Fetch { job, id, file } => return self.fetch(&id, &folder(job).file(&file)),
            Do::Upload { job, project, file } => {
                let path = folder(job).file(&file);
                let (digest, bytes) = measure(&path).map_err(at(&path))?;
                client.upload(&path, &ArtifactId { project, digest })?;
                return Ok(Answer::Uploaded(digest, bytes));
            }
            Do::Progress(job, progress) => client.progress(job, &progress)?,
            Do::Prepare { job, text } => {
                let folder = folder(job);
                for part in ["inputs", "updates", "outer", "outputs"] {
                    make(&folder.file(part))?;
                }
                fs::write(folder.job(), text).map_err(at(&folder.job()))?;
            }
            Do::Start { job, number, program } => {
                let (folder, tell) = (folder(job), self.site.tell.clone());
                let (programs, threads) = (&config.programs, config.threads);
                self.program = Some(Program::start(
                    number,
                    programs,
                    &program,
                    folder.root(),
                    threads,
                    tell,
                )?);
            }
            Do::Order(order) => {
                if let Some(program) = &mut self.program {
                    program.order(&order);
                }
            }
            Do::Stop => self.program = None,
            Do::Remove(job, Files::Checkpoint) => remove(&folder(job).checkpoint())?,
            Do::Remove(job, Files::Updates(round)) => remove_updates(&folder(job), round),
            Do::Remove(job, Files::All) => remove(folder(job).root())?,
            Do::Note(line) => (self.log)(&line),
            Do::Refresh => self.poller.refresh(),
        }
        Ok(Answer::Done)
    }

    fn ask(&self, command: Command) -> Result<Answer, SiteError> {
        let client = &self.site.config.client;
        match command {
            Command::Join { job } => return Ok(Answer::Joined(client.join(job)?)),
            Command::Contribute {
                job,
                round,
                attempt,
                update,
            } => client.contribute(job, round, attempt, &update),
            Command::Applied {
                job,
                round,
                attempt,
                outer,
            } => client.applied(job, round, attempt, &outer),
            Command::Checkpoint {
                job,
                round,
                attempt,
                digest,
                bytes,
            } => client.checkpoint(job, round, attempt, &Bytes { digest, bytes }),
            Command::Reset {
                job,
                attempt,
                applied,
            } => client.reset(job, attempt, applied),
            Command::Meter { job, reading } => client.meter(job, &reading),
            Command::Leave {
                job,
                attempt,
                outputs,
            } => client.leave(job, attempt, &outputs),
            Command::Fail {
                job,
                attempt,
                message,
            } => client.fail(job, attempt, &message),
            other => unreachable!("a site's machine doesn't ask for {other:?}"),
        }?;
        Ok(Answer::Done)
    }

    /// Makes sure that the artifact lies at `path`; answers how many bytes had to be fetched for it.
    fn fetch(&self, id: &ArtifactId, path: &Path) -> Result<Answer, SiteError> {
        if measure(path).is_ok_and(|(found, _)| found == id.digest) {
            return Ok(Answer::Fetched(0));
        }
        let saved = self.site.config.client.save(id, path);
        saved.map(Answer::Fetched).map_err(|error| match error {
            // A disk that doesn't take it is the site's own trouble, which no other try mends.
            ApiError::File { why, .. } => SiteError::File {
                path: path.to_owned(),
                why,
            },
            other => other.into(),
        })
    }
}

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
