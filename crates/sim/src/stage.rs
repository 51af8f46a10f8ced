//! Time and the network: what happens next, and what becomes of a message on its way.

use crate::dice::Dice;
use crate::disk::Bytes;
use api::{Orders, Problem};
use consortium::{ArtifactId, Command, Digest, JobId};
use server::Granted;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// Simulated milliseconds since the beginning.
pub(crate) type Millis = u64;

/// How long a request waits for its answer, as in `api::Client`.
const PATIENCE: Millis = 60_000;
/// How many of the last events are told of a failure.
const TOLD: usize = 80;

/// Who asks the hub, or a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// A process of a site; each start of it is another life.
    Site { site: usize, life: u32 },
    /// The researcher's command line.
    Person,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) from: Peer,
    /// Tells this peer's requests apart.
    pub(crate) number: u64,
    pub(crate) ask: Ask,
}

#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Command(Box<Command>, Option<String>),
    Orders {
        from: u32,
        known: String,
    },
    Upload(Bytes),
    Fetch(ArtifactId),
    /// Another site is asked for it, and not the hub.
    Hand {
        by: usize,
        job: JobId,
        id: ArtifactId,
    },
    Progress,
}

#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Granted(Granted),
    Orders(Option<(String, Orders)>),
    Stored(Digest, u64),
    Bytes(Bytes),
    Heard,
    Refused(Problem),
    /// The connection broke, or nobody listens there.
    Away,
}

/// What can happen.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A request arrives at the hub, or at the site that it is to.
    Asked(Asked),
    /// An answer arrives.
    Answered(Peer, u64, Reply),
    /// A request was not answered in time.
    Timeout(Peer, u64),
    /// The hub hears that a peer's connections are closed.
    HungUp(Peer),
    /// The hub's disk has a batch, in that life of the hub.
    Synced(u32),
    /// The hub looks at the clock, in that life.
    Tick(u32),
    /// An open request for orders has waited long enough, in that life.
    PollEnds(u32, Peer, u64),
    /// A site looks at the clock, in that life.
    Wake(usize, u32),
    /// A site's poller tries again, in that life.
    Poll(usize, u32),
    /// A site's program takes its next step: the site's life and the program's number.
    Program(usize, u32, u64),
    /// A site's machine is switched on.
    BootSite(usize),
    /// The hub's machine is switched on.
    BootHub,
    /// The researcher asks for a job, or asks again.
    Submit(usize),
    /// Something goes wrong.
    Fault,
    /// Something that went wrong ends.
    Heal(Trouble),
}

/// What goes wrong for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// A site is cut off, in one direction or both.
    Cut(usize),
    /// Every message is slow.
    SlowNet,
    /// The hub's disk is slow.
    SlowHub,
    /// A site's disk is slow.
    SlowSite(usize),
}

/// What the network does to messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Net {
    /// The least and the most that a message takes.
    pub(crate) latency: (Millis, Millis),
    /// Of a thousand messages so many are lost, come twice, or come very late.
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) late: u64,
    /// All latencies are multiplied by it; 0 is 1.
    pub(crate) slow: Millis,
    /// How fast each site's link is, in bits a second, for what is large.
    pub(crate) speeds: Vec<u64>,
    /// Sites that are cut off: towards the hub, and from it.
    pub(crate) cut: BTreeMap<usize, (bool, bool)>,
}

pub(crate) struct Stage {
    pub(crate) now: Millis,
    pub(crate) dice: Dice,
    pub(crate) net: Net,
    pub(crate) events: u64,
    /// In the order of their times, and of their being scheduled.
    queue: BTreeMap<(Millis, u64), Event>,
    scheduled: u64,
    /// Stands for everything that has happened (FNV-1a).
    pub(crate) schedule: u64,
    told: Option<VecDeque<String>>,
}

impl Stage {
    /// With `tell`, the last events are kept as text.
    pub(crate) fn new(seed: u64, tell: bool) -> Self {
        Self {
            now: 0,
            dice: Dice::new(seed),
            net: Net::default(),
            events: 0,
            queue: BTreeMap::new(),
            scheduled: 0,
            schedule: 0xcbf2_9ce4_8422_2325,
            told: tell.then(VecDeque::new),
        }
    }

    pub(crate) fn after(&mut self, delay: Millis, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + delay, self.scheduled), event);
    }

    /// The next thing that happens; its time is now.
    pub(crate) fn next(&mut self) -> Option<Event> {
        let ((at, number), event) = self.queue.pop_first()?;
        self.now = at;
        self.events += 1;
        self.mix(at);
        self.mix(number);
        Some(event)
    }

    /// Sends a request; if no answer comes, that comes after a while.
    pub(crate) fn ask(&mut self, from: Peer, number: u64, ask: &Ask) {
        let carried = match ask {
            Ask::Upload(bytes) => self.carries(from, bytes),
            _ => 0,
        };
        // As long as bytes go through, nothing is taken for lost.
        self.after(PATIENCE + carried, Event::Timeout(from, number));
        if matches!(ask, Ask::Hand { by, .. } if self.net.cut.get(by).is_some_and(|(_, down)| *down)) {
            return;
        }
        for delay in self.ways(from, true) {
            let ask = ask.clone();
            self.after(delay + carried, Event::Asked(Asked { from, number, ask }));
        }
    }

    pub(crate) fn answer(&mut self, to: Peer, number: u64, reply: &Reply) {
        let carried = match reply {
            Reply::Bytes(bytes) => self.carries(to, bytes),
            _ => 0,
        };
        for delay in self.ways(to, false) {
            self.after(delay + carried, Event::Answered(to, number, reply.clone()));
        }
    }

    /// The same from another site.
    pub(crate) fn answer_of(&mut self, site: usize, to: Peer, number: u64, reply: &Reply) {
        if self.net.cut.get(&site).is_none_or(|(up, _)| !up) {
            self.answer(to, number, reply);
        }
    }

    /// A peer's process has ended, and its system closes its connections.
    pub(crate) fn hang_up(&mut self, peer: Peer) {
        for delay in self.ways(peer, true) {
            self.after(delay, Event::HungUp(peer));
        }
    }

    /// How long a peer's link has to carry such bytes.
    fn carries(&self, peer: Peer, bytes: &Bytes) -> Millis {
        let speed = match peer {
            Peer::Site { site, .. } => self.net.speeds.get(site),
            Peer::Person => None,
        };
        speed.map_or(0, |speed| bytes.len() as u64 * 8_000 / speed)
    }

    /// How long a message takes: none if it is lost, two if it comes twice.
    fn ways(&mut self, peer: Peer, to_hub: bool) -> Vec<Millis> {
        if let Peer::Site { site, .. } = peer
            && let Some((up, down)) = self.net.cut.get(&site)
            && if to_hub { *up } else { *down }
        {
            return Vec::new();
        }
        let copies = if self.dice.chance(self.net.lost) {
            0
        } else if self.dice.chance(self.net.twice) {
            2
        } else {
            1
        };
        let (least, most) = self.net.latency;
        let slow = self.net.slow.max(1);
        let mut delay = |_| {
            let late = if self.dice.chance(self.net.late) {
                self.dice.below(90_000)
            } else {
                0
            };
            self.dice.between(least, most) * slow + late
        };
        (0..copies).map(&mut delay).collect()
    }

    /// Something for the story that a failure tells; it counts for the schedule too.
    pub(crate) fn tell(&mut self, what: &'static str, story: impl FnOnce() -> String) {
        for byte in what.bytes() {
            self.mix(u64::from(byte));
        }
        let Some(told) = &mut self.told else { return };
        let mut line = format!("{:>9.3} s  {what} ", self.now as f64 / 1000.0);
        let _ = write!(line, "{}", story());
        if line.chars().count() > 400 {
            line = line.chars().take(400).chain(['…']).collect();
        }
        if told.len() == TOLD {
            told.pop_front();
        }
        told.push_back(line);
    }

    pub(crate) fn story(&mut self) -> Vec<String> {
        self.told.take().into_iter().flatten().collect()
    }

    fn mix(&mut self, value: u64) {
        self.schedule = (self.schedule ^ value).wrapping_mul(0x0100_0000_01b3);
    }
}
