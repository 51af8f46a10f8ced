//! The edge between the machine and the world: files, programs and the clock. The hub is `carry.rs`'.

use crate::batch;
use crate::carry::{Carrier, Ways};
use crate::exchange::Exchange;
use crate::machine::{Answer, Do, Files, Heard, Machine};
use crate::masks;
use crate::poll::Poller;
use crate::program::Program;
use crate::{SiteConfig, SiteError};
use api::ApiError;
use consortium::{Actor, MaskKey, SiteId};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Instant;
use sync::JobFolder;

/// What the site's one thread hears of.
pub(crate) enum Word {
    /// Something for the machine.
    Heard(Heard),
    /// How what has that number went, on its way to the hub or from it.
    Carried(u64, Result<Answer, SiteError>),
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
        let (client, folder) = (self.config.client.clone(), &self.config.folder);
        let exchange = Exchange::open(&self.config.exchange, folder, &self.id, self.tell.clone())?;
        let contact = exchange.contact();
        let carrier = Carrier::new(client.clone(), Arc::clone(&exchange), folder);
        let mut hands = Hands {
            site: &self,
            ways: Ways::open(&carrier, &self.tell),
            poller: Poller::start(client.clone(), self.id.clone(), exchange, self.tell.clone()),
            log,
            program: None,
        };
        if let Some(address) = &contact.address {
            log(&format!("other sites of its jobs find it at {address}"));
        }
        let batches = batch::start(
            client,
            self.id.clone(),
            folder,
            &self.config.batches,
            contact,
            self.tell.clone(),
        );
        log(&format!("site {} is ready", self.id));
        loop {
            match self.words.recv_timeout(machine.patience(began.elapsed())) {
                Ok(Word::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    if let Some(last) = machine.reading(began.elapsed()) {
                        // A hub that doesn't hear it charges for less.
                        let _ = carrier.carry(last);
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
                Ok(Word::Carried(number, answer)) => machine.answer(number, answer, began.elapsed())?,
                Ok(Word::Note(line)) => log(&line),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some((number, todo)) = machine.next(began.elapsed()) {
                if let Some(way) = todo.way() {
                    hands.ways.begin(way, number, todo);
                } else {
                    let answer = hands.carry_out(todo);
                    machine.answer(number, answer, began.elapsed())?;
                }
            }
            hands.poller.wants(machine.committed());
        }
    }
}

/// What does as the machine says.
struct Hands<'a> {
    site: &'a Site,
    ways: Ways,
    poller: Poller,
    log: &'a dyn Fn(&str),
    program: Option<Program>,
}

impl Hands<'_> {
    /// Does what has no way.
    fn carry_out(&mut self, todo: Do) -> Result<Answer, SiteError> {
        let config = &self.site.config;
        let folder = |job| JobFolder::new(config.folder.join("jobs").join(format!("{job}")));
        match todo {
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
            Do::Key(job) => {
                let secret = masks::make_secret(&folder(job).file(masks::SECRET))?;
                return Ok(Answer::Key(MaskKey(secret.key())));
            }
            Do::Seeds(job, asked) => {
                let secret = masks::secret(&folder(job).file(masks::SECRET))?;
                return Ok(Answer::Seeds(masks::seeds(&secret, job, &asked)?));
            }
            Do::Stop => self.program = None,
            Do::Remove(job, Files::Checkpoint) => remove(&folder(job).checkpoint())?,
            Do::Remove(job, Files::Updates(round)) => remove_updates(&folder(job), round),
            Do::Remove(job, Files::All) => remove(folder(job).root())?,
            Do::Note(line) => (self.log)(&line),
            Do::Refresh => self.poller.refresh(),
            Do::Ask(_)
            | Do::Fetch { .. }
            | Do::Upload { .. }
            | Do::Mask { .. }
            | Do::Sum { .. }
            | Do::Progress(..) => {
                unreachable!("it goes its way: {todo:?}")
            }
        }
        Ok(Answer::Done)
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

pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> SiteError {
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
