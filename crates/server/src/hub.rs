use crate::access_log::AccessLog;
use crate::clock::Clock;
use crate::custody::Custody;
use crate::desk::{self, Granted};
use crate::device::Devices;
use crate::lockout::Lockout;
use crate::metrics::Counts;
use crate::outlook::Outlooks;
use crate::provider::{Provider, ProviderConfig};
use crate::rate::Rate;
use crate::tally::Tally;
use crate::writer::{Asked, Writer};
use api::{Problem, Progress};
use consortium::explain::Outlook;
use consortium::{Actor, Command, Credential, Digest, Holder, JobId, Request, SiteId, State, Time, apply};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::{
    BlobError, Blobs, Bucket, BucketConfig, BucketError, Entry, Hold, Measured, Place, Reader, Sealer, Store,
    StoreError, UploadLimits, Uploads,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Where a hub keeps its things and listens.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// Its data folder.
    pub folder: PathBuf,
    /// Where its log is: in the folder, or in a PostgreSQL database, which several hubs may be given. One of
    /// them writes, and the others wait in [`Hub::start`] until they can take over.
    pub log: Place,
    /// Whether to wait while another hub writes to the same database.
    pub stand_by: bool,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long a site may be silent before its jobs go on without it.
    pub lose_after: Duration,
    /// How often it looks whether time alone has brought something about.
    pub tick: Duration,
    /// The bucket that keeps its artifacts, with its folder as a cache; without it the folder keeps them.
    pub bucket: Option<BucketConfig>,
    /// How large an artifact it takes, and what one account may have under way.
    pub uploads: UploadLimits,
    /// How long a request is kept waiting for news at most.
    pub longest_wait: Duration,
    /// So many unknown tokens from one address within a minute lock it out.
    pub unknown_tokens: u32,
    /// How many requests of one account it answers in a second, with ten seconds' worth at once; 0 is no limit.
    pub rate: u32,
    /// The address that people reach it at, as `https://hub.example`; without it, the one where it listens.
    pub public_url: Option<String>,
    /// How long a device that waits to be let in has to wait before it asks again.
    pub device_interval: Duration,
    /// The provider that people sign in with; without it they have tokens.
    pub provider: Option<ProviderConfig>,
    /// The file that gets a line of JSON for each answer; `-` is the standard error.
    pub access_log: Option<PathBuf>,
    /// The folder of what its pages can do without: the structure viewer in `molstar`.
    pub assets: PathBuf,
    /// What its rules go by: the machine's clock, unless time is to be moved.
    pub clock: Clock,
}

impl HubConfig {
    /// A hub in `folder`, on a free loopback port.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            log: Place::from(&folder),
            assets: folder.join("assets"),
            folder,
            stand_by: false,
            listen: ([127, 0, 0, 1], 0).into(),
            lose_after: Duration::from_secs(15),
            tick: Duration::from_millis(500),
            bucket: None,
            uploads: UploadLimits::default(),
            longest_wait: Duration::from_secs(60),
            unknown_tokens: 30,
            clock: Clock::machine(),
            rate: 1_000,
            access_log: None,
            public_url: None,
            device_interval: Duration::from_secs(5),
            provider: None,
        }
    }
}

/// Why a hub can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The log can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The artifacts can't be opened.
    #[error(transparent)]
    Blobs(#[from] BlobError),
    /// The bucket can't be used.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Whose the bucket is to be can't be said.
    #[error(
        "the log is empty, so no bucket can be its own; found a consortium first, with `khub found` and without --artifacts"
    )]
    Unfounded,
    /// Someone else listens there.
    #[error(
        "{0} is in use by another program; choose another address with --listen; port 0 takes a free one"
    )]
    PortInUse(SocketAddr),
    /// It may not listen there.
    #[error("can't listen at {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The access log can't be written.
    #[error("can't write the access log {0}: {1}")]
    AccessLog(PathBuf, std::io::Error),
    /// The runtime that carries the connections.
    #[error("can't start: {0}")]
    Runtime(std::io::Error),
    /// The log couldn't be written. Nothing that was confirmed is lost.
    #[error("the log can't be written ({0}); the hub has stopped, and nothing that it confirmed is lost")]
    Log(String),
}

/// A running hub.
pub struct Hub {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
    writer: Option<JoinHandle<()>>,
}

/// What all of the hub's threads share.
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) log: Place,
    pub(crate) blobs: Blobs,
    pub(crate) uploads: Uploads,
    pub(crate) custody: Custody,
    /// Held while leftovers are collected.
    pub(crate) collecting: Mutex<()>,
    longest_wait: Duration,
    pub(crate) assets: PathBuf,
    clock: Clock,
    /// The number of the last record, told at every commit.
    pub(crate) changed: watch::Sender<u64>,
    /// Why the hub has stopped; none while it runs.
    stopped: watch::Sender<Option<Stop>>,
    /// What the log has, for all who read.
    state: RwLock<State>,
    asked: Mutex<Option<mpsc::Sender<Asked>>>,
    started: Instant,
    heard: Mutex<BTreeMap<SiteId, Heard>>,
    progress: Mutex<BTreeMap<JobId, BTreeMap<SiteId, Progress>>>,
    /// The queue, as those who read see it.
    outlooks: Outlooks,
    /// Connections to the log's database of those who have read from it, for the next who do.
    readers: Mutex<Vec<Reader>>,
    pub(crate) lockout: Lockout,
    pub(crate) rate: Rate,
    /// Where people reach the hub, without a slash at its end.
    pub(crate) public: String,
    pub(crate) provider: Option<Arc<Provider>>,
    pub(crate) devices: Devices,
    pub(crate) access_log: AccessLog,
    pub(crate) counts: Counts,
}

#[derive(Debug, Clone, PartialEq)]
enum Stop {
    Asked,
    Broken(String),
}

/// When a site was last heard, and how many of its requests are open now.
#[derive(Debug, Clone, Copy)]
struct Heard {
    last: Instant,
    open: usize,
}

impl Hub {
    /// Opens the folder and the log, rebuilds the state and listens.
    pub fn start(config: &HubConfig) -> Result<Self, HubError> {
        // Before it waits to take over: whoever starts it is told at once.
        let bucket = config.bucket.as_ref().map(Bucket::open).transpose()?;
        let (mut store, state) = open(config)?;
        let tally = Tally::of(&mut store, &state)?;
        let sealer = Sealer::open(&config.folder)?;
        let blobs = blobs(config, bucket, &mut store)?;
        let uploads = Uploads::open(&blobs, config.uploads)?;
        let custody = Custody::of(&uploads, &state);
        let access_log = AccessLog::open(config.access_log.as_deref());
        let access_log = access_log
            .map_err(|error| HubError::AccessLog(config.access_log.clone().unwrap_or_default(), error))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("hub")
            .enable_all()
            .build()
            .map_err(HubError::Runtime)?;
        let listener = runtime.block_on(listen(config.listen))?;
        let address = listener.local_addr().map_err(HubError::Runtime)?;
        let public = config
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{address}"));
        let (asked, requests) = mpsc::channel(4_096);
        let shared = Arc::new(Shared {
            folder: config.folder.clone(),
            log: config.log.clone(),
            blobs,
            uploads,
            custody,
            collecting: Mutex::default(),
            longest_wait: config.longest_wait,
            assets: config.assets.clone(),
            clock: config.clock.clone(),
            changed: watch::channel(store.seq()).0,
            stopped: watch::channel(None).0,
            state: RwLock::new(state.clone()),
            asked: Mutex::new(Some(asked)),
            started: Instant::now(),
            heard: Mutex::default(),
            progress: Mutex::default(),
            outlooks: Outlooks::default(),
            readers: Mutex::default(),
            lockout: Lockout::of(config.unknown_tokens),
            rate: Rate::new(config.rate),
            public: public.trim_end_matches('/').to_owned(),
            devices: Devices::new(config.device_interval.as_secs()),
            provider: config.provider.clone().map(|it| Arc::new(Provider::new(it))),
            access_log,
            counts: Counts::default(),
        });
        let writing = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("hub-writer".to_owned())
            .spawn(move || {
                let writer = Writer {
                    shared: &writing,
                    store,
                    state,
                    tally,
                };
                writer.run(sealer, requests);
            })
            .map_err(HubError::Runtime)?;
        let router = crate::router(Arc::clone(&shared)).into_make_service_with_connect_info::<SocketAddr>();
        let stop = shared.until_stopped();
        runtime.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stop).await });
        runtime.spawn(watch_time(Arc::clone(&shared), config.tick, config.lose_after));
        Ok(Self {
            shared,
            address,
            runtime: Some(runtime),
            writer: Some(writer),
        })
    }

    /// Where it answers, as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Carries out a request as the hub itself: founding the consortium.
    pub fn ask(&self, key: &str, command: Command) -> Result<Granted, Problem> {
        let request = Request::new(Actor::Hub, command).keyed(key);
        self.block_on(self.shared.ask(request))
    }

    /// Makes a token that speaks for `holder`.
    pub fn issue(&self, holder: Holder) -> Result<String, Problem> {
        self.block_on(self.shared.issue(Actor::Hub, Credential::full(holder)))
    }

    /// Whether `token` speaks for `holder`.
    pub fn knows(&self, token: &str, holder: &Holder) -> bool {
        self.shared.read().is_ok_and(|s| {
            s.credentials
                .get(&digest(token))
                .is_some_and(|known| known.holder == *holder)
        })
    }

    /// Waits until the hub stops; tells why, if nobody asked it to.
    pub fn wait(&self) -> Result<(), HubError> {
        let mut stopped = self.shared.stopped.subscribe();
        let stop = self.block_on(async {
            stopped
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|s| s.clone())
        });
        match stop {
            Some(Stop::Broken(why)) => Err(HubError::Log(why)),
            _ => Ok(()),
        }
    }

    /// A handle that stops the hub from another thread.
    pub fn stopper(&self) -> impl Fn() + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || shared.stop(Stop::Asked)
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime
            .as_ref()
            .expect("the runtime lives until the hub is dropped")
            .block_on(future)
    }
}

impl Drop for Hub {
    /// Stops listening, lets the writer finish what it took on, keeps a snapshot.
    fn drop(&mut self) {
        self.shared.stop(Stop::Asked);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
        lock(&self.shared.asked).take();
        if let Some(writer) = self.writer.take() {
            // It only panics on a defect, which the default hook has already printed.
            let _ = writer.join();
        }
    }
}

impl Shared {
    /// The state, as committed.
    pub(crate) fn read(&self) -> Result<RwLockReadGuard<'_, State>, Problem> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &*self.stopped.borrow() {
            Some(Stop::Broken(why)) => Err(Problem::new(
                503,
                "unavailable",
                format!("the hub has stopped: {why}"),
            )),
            _ => Ok(state),
        }
    }

    /// The time that the rules are told.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Has readers see what the log has now.
    pub(crate) fn show(&self, entries: &[Entry]) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for entry in entries {
            for event in &entry.events {
                apply(&mut state, event, entry.at);
            }
        }
        self.outlooks.follow(entries);
    }

    /// The queue as it is in `state`, which is being [read](Self::read).
    pub(crate) fn outlook(&self, state: &State) -> Arc<Outlook> {
        self.outlooks.of(state, self.now())
    }

    /// Has the writer carry out a request.
    pub(crate) async fn ask(&self, request: Request) -> Result<Granted, Problem> {
        self.ask_with(request, Vec::new()).await
    }

    /// The same with what a run has measured, which is kept if the request is granted. Bytes that the request would have
    /// the log name must have come from who asks, and are held until the log names them: here, for every request.
    pub(crate) async fn ask_with(
        &self,
        request: Request,
        measured: Vec<Measured>,
    ) -> Result<Granted, Problem> {
        let gone =
            || Problem::new(503, "unavailable", "the hub is stopping").hint("try again when it is back");
        let holds = self.custody.holds_for(&request)?;
        let named: Vec<Digest> = holds.iter().map(Hold::digest).collect();
        let actor = request.actor.clone();
        let (answer, answered) = oneshot::channel();
        let asked = lock(&self.asked).clone().ok_or_else(gone)?;
        let question = Asked {
            request,
            measured,
            holds,
            answer,
        };
        asked.send(question).await.map_err(|_| gone())?;
        let granted = answered.await.map_err(|_| gone())??;
        self.custody.note_named(&actor, &named);
        Ok(granted)
    }

    /// Makes a token. It is told once; the log has its digest.
    pub(crate) async fn issue(&self, asker: Actor, credential: Credential) -> Result<String, Problem> {
        let token = secret("khub_")?;
        let command = Command::IssueCredential {
            token: digest(&token),
            credential,
        };
        self.ask(Request::new(asker, command)).await?;
        Ok(token)
    }

    /// Notes that `site` has a request open; the note's end is noted too.
    pub(crate) fn hear(self: &Arc<Self>, site: &SiteId) -> Hearing {
        let mut heard = lock(&self.heard);
        let entry = heard.entry(site.clone()).or_insert(Heard {
            last: Instant::now(),
            open: 0,
        });
        entry.last = Instant::now();
        entry.open += 1;
        Hearing {
            shared: Arc::clone(self),
            site: site.clone(),
        }
    }

    /// How long `site` has been silent; none if it was never heard.
    pub(crate) fn silence(&self, site: &SiteId) -> Option<Duration> {
        let heard = lock(&self.heard).get(site).copied()?;
        Some(if heard.open > 0 {
            Duration::ZERO
        } else {
            heard.last.elapsed()
        })
    }

    pub(crate) fn note_progress(&self, job: JobId, site: SiteId, progress: Progress) {
        lock(&self.progress)
            .entry(job)
            .or_default()
            .insert(site, progress);
    }

    pub(crate) fn progress_of(&self, job: JobId) -> BTreeMap<SiteId, Progress> {
        lock(&self.progress).get(&job).cloned().unwrap_or_default()
    }

    /// Reads the log's database, off the threads that answer. Connections are kept for the next who asks; one that has
    /// gone stale is replaced once.
    pub(crate) async fn read_log<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl Fn(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        let shared = Arc::clone(self);
        let work = move || {
            if let Some(reader) = shared.take_reader()
                && let Ok(found) = read(&reader)
            {
                shared.put_reader(reader);
                return Ok(found);
            }
            let reader = Reader::open(&shared.log)?;
            let found = read(&reader)?;
            shared.put_reader(reader);
            Ok(found)
        };
        let internal = |why: &dyn std::fmt::Display| {
            Problem::new(
                500,
                "internal",
                format!("the log's database can't be read: {why}"),
            )
        };
        let done: Result<T, StoreError> = tokio::task::spawn_blocking(work)
            .await
            .map_err(|e| internal(&e))?;
        done.map_err(|e| internal(&e))
    }

    /// In a function of its own, so that the lock isn't held while the reader reads.
    fn take_reader(&self) -> Option<Reader> {
        lock(&self.readers).pop()
    }

    fn put_reader(&self, reader: Reader) {
        let mut readers = lock(&self.readers);
        if readers.len() < READERS {
            readers.push(reader);
        }
    }

    pub(crate) fn break_off(&self, why: &str) {
        self.stop(Stop::Broken(why.to_owned()));
    }

    /// Until when a request is kept waiting that would wait for so many seconds.
    pub(crate) fn until(&self, seconds: u64) -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_secs(seconds).min(self.longest_wait)
    }

    /// Resolves when the hub stops.
    pub(crate) fn until_stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut stopped = self.stopped.subscribe();
        async move {
            let _ = stopped.wait_for(Option::is_some).await;
        }
    }

    fn stop(&self, stop: Stop) {
        self.stopped.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(stop);
            }
            first
        });
    }
}

/// A site's open request.
pub(crate) struct Hearing {
    shared: Arc<Shared>,
    site: SiteId,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        if let Some(heard) = lock(&self.shared.heard).get_mut(&self.site) {
            heard.last = Instant::now();
            heard.open -= 1;
        }
    }
}

/// So many connections are kept for those who read the log's database.
const READERS: usize = 4;

/// How often a hub that stands by tries.
const STAND_BY: Duration = Duration::from_millis(250);

/// Opens the log; a hub that stands by does so as soon as no other writes to it.
fn open(config: &HubConfig) -> Result<(Store, State), StoreError> {
    loop {
        match Store::open(&config.log) {
            Err(StoreError::Busy { .. }) if config.stand_by => std::thread::sleep(STAND_BY),
            opened => return opened,
        }
    }
}

/// The artifacts' bytes: in the folder, or in the bucket behind it.
fn blobs(config: &HubConfig, bucket: Option<Bucket>, store: &mut Store) -> Result<Blobs, HubError> {
    let folder = config.folder.join("artifacts");
    let (Some(bucket), Some(BucketConfig { cache, .. })) = (bucket, &config.bucket) else {
        return Ok(Blobs::open(&folder)?);
    };
    let log = store.first()?.ok_or(HubError::Unfounded)?;
    Ok(Blobs::in_front_of(&folder, bucket, &log, *cache)?)
}

/// A word that nobody can guess: 256 random bits in hexadecimal, after `prefix`, which says what it is.
pub(crate) fn secret(prefix: &str) -> Result<String, Problem> {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).map_err(|e| {
        let detail = format!("the machine gives no random numbers: {e}");
        Problem::new(500, "internal", detail)
    })?;
    let hex = secret.iter().map(|b| format!("{b:02x}"));
    Ok(hex.fold(prefix.to_owned(), |word, hex| word + &hex))
}

/// The digest by which the log knows a token.
pub(crate) fn digest(token: &str) -> Digest {
    Digest::of(token.as_bytes())
}

async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, HubError> {
    tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => HubError::PortInUse(address),
            _ => HubError::Listen(address, error),
        })
}

/// Asks the rules what time has brought about, and takes silent sites out of their jobs.
async fn watch_time(shared: Arc<Shared>, tick: Duration, lose_after: Duration) {
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopped = std::pin::pin!(shared.until_stopped());
    let mut collected = shared.now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = &mut stopped => return,
        }
        shared.collect_when_due(&mut collected);
        let mut commands = shared.silent(lose_after);
        commands.push(Command::Tick);
        for command in commands {
            // A refusal here means that the site or the job is gone already.
            let _ = shared.ask(Request::new(Actor::Hub, command)).await;
        }
    }
}

impl Shared {
    /// A `Lose` for every site that is in a job and silent. A hub that has just started gives each of them
    /// the whole time to come back.
    fn silent(&self, lose_after: Duration) -> Vec<Command> {
        let Ok(state) = self.read() else { return Vec::new() };
        let silence = |site: &SiteId| self.silence(site).unwrap_or_else(|| self.started.elapsed());
        desk::losses(&state, |site| silence(site) > lose_after)
    }
}

/// Every section under these locks is a few plain statements: a panic in one is a defect, and no reason to
/// stop everyone else.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
