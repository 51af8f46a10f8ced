//! What the sites of a job hand each other directly, over HTTPS with a certificate on either side: updates, checkpoints
//! and inputs, by their digest. Whatever no site hands out comes from the hub, which has all of it.
//!
//! ```text
//! GET /jobs/job-7/artifacts/blake3:...?from=1048576
//! 200   length (u64, little endian), a value for each chunk (tree.rs), the bytes from 1048576 on
//! ```
//!
//! A site that no others can reach asks and is never asked. Whom a site answers is decided in `circle.rs`, how fast in
//! `pace.rs`; `serve.rs` answers, `ask.rs` asks.

mod ask;
mod circle;
mod pace;
mod passport;
mod serve;
mod tree;

pub use circle::Circle;
pub use pace::Rates;

use crate::SiteError;
use crate::edge::Word;
use api::{ApiError, Orders, PartFile};
use ask::{Link, Miss};
use consortium::{Contact, Digest, JobId, SiteId};
pub(crate) use pace::Pace;
use passport::Passport;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tree::Tree;

/// How a site exchanges with others.
#[derive(Debug, Clone, Default)]
pub struct ExchangeConfig {
    /// Where it answers the other sites of its jobs; nowhere if not given.
    pub serve: Option<SocketAddr>,
    /// Host, or host and port, at which the others reach that, if they do so by another name.
    pub reach: Option<String>,
    /// How fast its links may be used.
    pub rates: Rates,
}

/// How long a site that can't be reached, or whose bytes are wrong, is asked for nothing.
const REST: Duration = Duration::from_secs(30);
const LONG_REST: Duration = Duration::from_secs(600);
/// Sites that are asked for a file before the hub is.
const ASKED: usize = 4;

/// A site's part in the exchange; its ways and those who ask share it.
pub(crate) struct Exchange {
    began: Instant,
    passport: Passport,
    address: Option<String>,
    rates: Rates,
    tell: Sender<Word>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    circle: Circle,
    /// What is here of each job.
    shelf: BTreeMap<(JobId, Digest), Kept>,
    /// The sites that were asked.
    links: BTreeMap<SiteId, Link>,
    /// How fast they are answered.
    paces: BTreeMap<SiteId, Arc<Pace>>,
    /// Bytes of each job: from other sites, and to them.
    traffic: BTreeMap<JobId, (u64, u64)>,
}

/// A file, and its chunks' values once somebody asked for it.
#[derive(Clone)]
struct Kept {
    path: PathBuf,
    tree: Option<Arc<Tree>>,
}

impl Exchange {
    /// Begins to answer, if the site answers anywhere.
    pub(crate) fn open(
        config: &ExchangeConfig,
        folder: &Path,
        site: &SiteId,
        tell: Sender<Word>,
    ) -> Result<Arc<Self>, SiteError> {
        let listener = config.serve.map(|at| {
            let listener = TcpListener::bind(at);
            listener.map_err(|error| SiteError::Exchange(format!("{at} can't be served: {error}")))
        });
        let listener = listener.transpose()?;
        let reached = listener
            .as_ref()
            .map(|listener| reached(listener, config.reach.as_deref()));
        let reached = reached.transpose()?;
        let host = reached.as_deref().map(host);
        let exchange = Arc::new(Self {
            began: Instant::now(),
            passport: Passport::of(folder, site, host)?,
            address: reached.map(|at| format!("https://{at}")),
            rates: config.rates.clone(),
            tell,
            shared: Mutex::default(),
        });
        if let Some(listener) = listener {
            serve::start(listener, &exchange)?;
        }
        Ok(exchange)
    }

    /// What the hub is to tell the other sites.
    pub(crate) fn contact(&self) -> Contact {
        Contact {
            certificate: self.passport.text(),
            address: self.address.clone(),
        }
    }

    /// The pace of what goes to the hub, or comes from it.
    pub(crate) fn to_hub(&self) -> Option<Pace> {
        self.rates.hub.map(Pace::new)
    }

    /// The hub, which was `asked` then, told what there is to do, or that nothing is new.
    pub(crate) fn hear(&self, orders: Option<&Orders>, asked: Duration) {
        let mut shared = self.lock();
        let Shared {
            circle,
            shelf,
            traffic,
            ..
        } = &mut *shared;
        circle.hear(orders, asked);
        shelf.retain(|(job, _), _| circle.is_in(*job));
        let over = traffic.keys().filter(|job| !circle.is_in(**job));
        for job in over.copied().collect::<Vec<_>>() {
            let (taken, handed) = traffic.remove(&job).unwrap_or_default();
            let (taken, handed) = (taken as f64 / 1e6, handed as f64 / 1e6);
            self.note(format!(
                "{job}: {taken:.1} MB came from other sites, {handed:.1} MB went to them"
            ));
        }
    }

    /// Others may have the file from here.
    pub(crate) fn keep(&self, job: JobId, digest: Digest, path: &Path) {
        let kept = Kept {
            path: path.to_owned(),
            tree: None,
        };
        if self.address.is_some() {
            self.lock().shelf.entry((job, digest)).or_insert(kept);
        }
    }

    /// What other sites have of the file that is to be at `path`; who fetches the rest from the hub goes on with it.
    ///
    /// # Errors
    /// Only those of this site's disk; sites that don't answer are passed over.
    pub(crate) fn take(
        &self,
        job: JobId,
        digest: &Digest,
        path: &Path,
        peers: &[SiteId],
    ) -> Result<PartFile, ApiError> {
        let mut part = PartFile::open(path, digest)?;
        for site in peers.iter().take(ASKED) {
            if part.is_whole(digest) {
                break;
            }
            let Some(link) = self.link(job, site) else {
                continue;
            };
            let had = part.have();
            let missed = link.take(job, digest, &mut part);
            self.lock().traffic.entry(job).or_default().0 += part.have().saturating_sub(had);
            let (why, rest) = match missed {
                Ok(()) => break,
                Err(Miss::File(error)) => return Err(error),
                Err(Miss::Absent) => continue,
                Err(Miss::Away(why)) => (format!("site {site} can't be asked: {why}"), REST),
                Err(Miss::Wrong(why)) => (
                    format!("site {site} hands out wrong bytes of {digest}: {why}"),
                    LONG_REST,
                ),
            };
            self.note(format!(
                "{job}: {why}; the others and the hub are asked, and it isn't for {} s",
                rest.as_secs()
            ));
            self.rest(site, rest);
        }
        Ok(part)
    }

    /// The way to a site that may be asked now.
    fn link(&self, job: JobId, site: &SiteId) -> Option<Link> {
        let (now, mut shared) = (self.now(), self.lock());
        let contact = shared.circle.contact(job, site)?.clone();
        let known = shared.links.get(site).filter(|link| link.is_to(&contact));
        let link = match known {
            Some(link) => link.clone(),
            None => {
                let link = Link::new(contact, &self.passport, self.rates.of(site))?;
                shared.links.insert(site.clone(), link.clone());
                link
            }
        };
        (link.rests_until <= now).then_some(link)
    }

    fn rest(&self, site: &SiteId, rest: Duration) {
        let until = self.now() + rest;
        if let Some(link) = self.lock().links.get_mut(site) {
            link.rests_until = until;
        }
    }

    // ---- those who ask -------------------------------------------------------------------------------------

    /// The site whose certificate that is, if it is in a job of this one.
    fn bearer(&self, certificate: &str) -> Option<SiteId> {
        self.lock().circle.bearer(certificate).cloned()
    }

    /// The file for a site, if it may have it; its chunks' values are found if nobody has asked for it so far.
    fn hand_out(&self, job: JobId, digest: &Digest, site: &SiteId) -> Option<(File, Arc<Tree>)> {
        let kept = {
            let shared = self.lock();
            let may = shared.circle.hands(job, site, self.now());
            shared.shelf.get(&(job, *digest)).filter(|_| may)?.clone()
        };
        // A file that is removed while it is read stays whole for who has it open.
        let opened = File::open(&kept.path).ok().and_then(|file| match kept.tree {
            Some(tree) => Some((file, tree)),
            None => {
                let (tree, found) = Tree::of(&mut BufReader::new(&file)).ok()?;
                (found == *digest).then(|| (file, Arc::new(tree)))
            }
        });
        let mut shared = self.lock();
        match &opened {
            // Removed, or another by now.
            None => drop(shared.shelf.remove(&(job, *digest))),
            Some((_, tree)) => {
                if let Some(kept) = shared.shelf.get_mut(&(job, *digest)) {
                    kept.tree = Some(Arc::clone(tree));
                }
            }
        }
        opened
    }

    /// How fast a site is answered.
    fn pace(&self, site: &SiteId) -> Option<Arc<Pace>> {
        let rate = self.rates.of(site)?;
        let mut shared = self.lock();
        let pace = shared.paces.entry(site.clone());
        Some(Arc::clone(pace.or_insert_with(|| Arc::new(Pace::new(rate)))))
    }

    fn handed(&self, job: JobId, bytes: u64) {
        self.lock().traffic.entry(job).or_default().1 += bytes;
    }

    // ---- small things --------------------------------------------------------------------------------------

    fn note(&self, line: String) {
        // A site that has stopped needs no notes.
        let _ = self.tell.send(Word::Note(line));
    }

    /// What has passed since it began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Host and port at which the others reach the listener.
fn reached(listener: &TcpListener, by: Option<&str>) -> Result<String, SiteError> {
    let at = listener
        .local_addr()
        .map_err(|error| SiteError::Exchange(error.to_string()))?;
    match by {
        Some(name) if name.contains("://") || name.contains('/') => Err(SiteError::Exchange(format!(
            "{name:?} is no HOST or HOST:PORT at which others reach this site"
        ))),
        Some(name) if host(name).len() < name.len() => Ok(name.to_owned()),
        Some(name) => Ok(format!("{name}:{}", at.port())),
        None if at.ip().is_unspecified() => Err(SiteError::Exchange(format!(
            "{at} is every address of this machine; say by which one, or by which name, the others reach it"
        ))),
        None => Ok(at.to_string()),
    }
}

/// `[::1]:7443` and `[::1]` have the host `::1`, `a.kr:7443` has `a.kr`.
fn host(at: &str) -> &str {
    if let Some(rest) = at.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    at.rsplit_once(':').map_or(at, |(host, _)| host)
}

#[cfg(test)]
mod tests;
