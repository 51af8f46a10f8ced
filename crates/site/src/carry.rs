//! What goes to the hub and comes from it, over HTTP: a thread for each [`Way`], so that none waits for another.

use crate::SiteError;
use crate::edge::{Word, at};
use crate::exchange::{Exchange, Pace};
use crate::machine::{Answer, Do, Way};
use crate::masks::{SECRET, mask_file, masks, secret, sum_files};
use api::{ApiError, Bytes, Client, measure};
use consortium::{ArtifactId, Command, JobId, SiteId};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use sync::JobFolder;

/// The threads; they end with it, once what is under way is done.
pub(crate) struct Ways([(Way, Sender<(u64, Do)>); Way::ALL.len()]);

impl Ways {
    pub(crate) fn open(carrier: &Carrier, tell: &Sender<Word>) -> Self {
        let yields = Arc::new(Yields::default());
        let (up, down) = (carrier.exchange.to_hub(), carrier.exchange.to_hub());
        let hub = Arc::new(HubPaces { up, down });
        Self(Way::ALL.map(|way| {
            let (sender, queue) = channel();
            let carrier = carrier.on(way, &yields, &hub);
            let (tell, yields) = (tell.clone(), Arc::clone(&yields));
            std::thread::spawn(move || travel(&carrier, way, &queue, &tell, &yields));
            (way, sender)
        }))
    }

    /// Begins something; its answer comes as a [`Word::Carried`].
    pub(crate) fn begin(&self, way: Way, number: u64, todo: Do) {
        let queue = self.0.iter().find(|(other, _)| *other == way);
        if let Some((_, queue)) = queue {
            // Its thread ends only with this.
            let _ = queue.send((number, todo));
        }
    }
}

fn travel(carrier: &Carrier, way: Way, queue: &Receiver<(u64, Do)>, tell: &Sender<Word>, yields: &Yields) {
    for (number, todo) in queue {
        let first = (way == Way::Send).then(|| yields.go_first());
        let answer = carrier.carry(todo);
        drop(first);
        if tell.send(Word::Carried(number, answer)).is_err() {
            return;
        }
    }
}

/// Lets one transfer wait while others go first.
#[derive(Default)]
struct Yields {
    first: Mutex<u32>,
    over: Condvar,
}

impl Yields {
    /// What is returned goes first until it is dropped.
    fn go_first(&self) -> First<'_> {
        *self.lock() += 1;
        First(self)
    }

    /// Waits until nothing goes first.
    fn give_way(&self) {
        let first = self.lock();
        let waited = self.over.wait_while(first, |first| *first > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, u32> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How fast the link to the hub may be used each way; none if as fast as it goes.
struct HubPaces {
    up: Option<Pace>,
    down: Option<Pace>,
}

impl HubPaces {
    fn wait(&self, way: Way, bytes: u64) {
        let pace = match way {
            Way::Fetch => &self.down,
            _ => &self.up,
        };
        if let Some(pace) = pace {
            std::thread::sleep(pace.take(bytes));
        }
    }
}

struct First<'a>(&'a Yields);

impl Drop for First<'_> {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.over.notify_all();
    }
}

/// Speaks with the hub.
#[derive(Clone)]
pub(crate) struct Carrier {
    client: Client,
    exchange: Arc<Exchange>,
    /// Where the site keeps its jobs.
    folder: PathBuf,
}

impl Carrier {
    pub(crate) fn new(client: Client, exchange: Arc<Exchange>, folder: &Path) -> Self {
        Self {
            client,
            exchange,
            folder: folder.join("jobs"),
        }
    }

    /// The same for a thread of its own.
    fn on(&self, way: Way, yields: &Arc<Yields>, hub: &Arc<HubPaces>) -> Self {
        let mut carrier = self.clone();
        let (yields, hub) = (Arc::clone(yields), Arc::clone(hub));
        let before = AtomicU64::new(0);
        if way == Way::Keep {
            // Else it would only stand still at this end: what is in buffers on the way goes on, and updates behind it.
            carrier.client = carrier.client.in_pieces();
        }
        // The client tells of what it reads before that is sent, and of what came.
        carrier.client = carrier.client.telling(move |done, _| {
            if way == Way::Keep {
                yields.give_way();
            }
            let before = before.swap(done, Ordering::Relaxed);
            // One transfer after the other: a smaller number is another's first.
            hub.wait(way, done.checked_sub(before).unwrap_or(done));
        });
        carrier
    }

    /// Does what has a way.
    pub(crate) fn carry(&self, todo: Do) -> Result<Answer, SiteError> {
        match todo {
            Do::Ask(command) => self.ask(command),
            Do::Fetch { job, id, file, peers } => self.fetch(job, &id, &self.file(job, &file), &peers),
            Do::Upload {
                job, project, file, ..
            } => {
                let path = self.file(job, &file);
                let (digest, bytes) = measure(&path).map_err(at(&path))?;
                self.client.upload(&path, &ArtifactId { project, digest })?;
                self.exchange.keep(job, digest, &path);
                Ok(Answer::Uploaded(digest, bytes))
            }
            Do::Progress(job, progress) => {
                self.client.progress(job, &progress)?;
                Ok(Answer::Done)
            }
            Do::Mask {
                job,
                round,
                site,
                keys,
                file,
                masked,
            } => {
                let secret = secret(&self.file(job, SECRET))?;
                let masks = masks(&secret, (job, round), &site, &keys)?;
                mask_file(&self.file(job, &file), &self.file(job, &masked), &masks)?;
                Ok(Answer::Done)
            }
            Do::Sum {
                job,
                masked,
                lifted,
                of,
                samples,
                file,
            } => {
                let masked: Vec<PathBuf> = masked.iter().map(|file| self.file(job, file)).collect();
                sum_files(&masked, &lifted, (of, samples), &self.file(job, &file))?;
                Ok(Answer::Done)
            }
            other => unreachable!("it has no way: {other:?}"),
        }
    }

    fn file(&self, job: JobId, file: &str) -> PathBuf {
        JobFolder::new(self.folder.join(format!("{job}"))).file(file)
    }

    fn ask(&self, command: Command) -> Result<Answer, SiteError> {
        let client = &self.client;
        match command {
            Command::Join { job } => return Ok(Answer::Joined(client.join(job)?)),
            Command::Contribute {
                job,
                round,
                attempt,
                update,
            } => client.contribute(job, round, attempt, &update),
            Command::Inspect {
                job,
                round,
                attempt,
                report,
            } => client.inspect(job, round, attempt, &report),
            Command::TellKey { job, attempt, key } => client.tell_key(job, attempt, &key),
            Command::Unmask {
                job,
                round,
                attempt,
                seeds,
            } => client.unmask(job, round, attempt, &seeds),
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
    fn fetch(&self, job: JobId, id: &ArtifactId, path: &Path, peers: &[SiteId]) -> Result<Answer, SiteError> {
        let is_here = measure(path).is_ok_and(|(found, _)| found == id.digest);
        let bytes = match is_here {
            true => Ok(0),
            // What the other sites haven't got the hub has.
            false => self
                .exchange
                .take(job, &id.digest, path, peers)
                .and_then(|part| self.client.save_rest(id, path, part)),
        };
        let bytes = bytes.map_err(|error| match error {
            // A disk that doesn't take it is the site's own trouble, which no other try mends.
            ApiError::File { why, .. } => SiteError::File {
                path: path.to_owned(),
                why,
            },
            other => SiteError::from(other),
        })?;
        self.exchange.keep(job, id.digest, path);
        Ok(Answer::Fetched(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_way_waits_until_nothing_goes_first() {
        let yields = Arc::new(Yields::default());
        yields.give_way(); // nothing does
        let (one, other) = (yields.go_first(), yields.go_first());
        let (tell, told) = channel();
        let waits = Arc::clone(&yields);
        let waiting = std::thread::spawn(move || {
            tell.send("waits").unwrap();
            waits.give_way();
            tell.send("goes on").unwrap();
        });
        assert_eq!(told.recv(), Ok("waits"));
        drop(one);
        assert!(told.try_recv().is_err(), "one still goes first");
        drop(other);
        assert_eq!(told.recv(), Ok("goes on"));
        waiting.join().unwrap();
    }
}
