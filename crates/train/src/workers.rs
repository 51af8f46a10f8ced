//! Workers on one machine: processes that one of them starts, and memory that all of them see.
//!
//! ```text
//!           rank 0 (starts the others)      Meetings: a worker sends what it is about to add up, and goes on
//!          /       |         \              when rank 0, which has heard from all, answers. Who is gone has
//!     rank 1    rank 2    rank 3            closed its socket, and then everyone hears of it.
//!
//!  memory  | slot 0 | slot 1 | slot 2 | slot 3 |
//!     meet    each puts its numbers into its slot
//!     meet    each adds up its part of all slots, in the order of ranks, into slot 0
//!     meet    each takes slot 0
//! ```
//!
//! A worker's socket is its standard input, so nothing is looked for, and no name is left behind.
//!
//! ```no_run
//! # use std::process::Command;
//! use train::Workers;
//! // At the beginning of the program: a worker that was started finds its place, the first one starts them.
//! let workers = match Workers::join()? {
//!     Some(workers) => workers,
//!     None => Workers::start(4, |_| Command::new(std::env::current_exe().expect("a program has a file")))?,
//! };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(unsafe_code, reason = "memory that several processes see")]

use crate::group::{AllReduce, GroupError, MOST, share};
use memmap2::{MmapOptions, MmapRaw};
use rayon::prelude::*;
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells a worker its place: `rank/size/path`, the path of the memory.
const INVITATION: &str = "KHUB_WORKER";
/// Numbers that one task adds up: they stay in the first cache while slot after slot comes by.
const CHUNK: usize = 1 << 12;

/// A group of processes on one machine, seen from one of them. Each should compute in a pool of its share of
/// the processors.
#[derive(Debug)]
pub struct Workers {
    rank: usize,
    size: usize,
    links: Links,
    file: File,
    memory: Option<Memory>,
}

/// Sockets to the others.
#[derive(Debug)]
enum Links {
    /// Of rank 0, which has started them.
    Others(Vec<Worker>),
    /// Of another one.
    First(UnixStream),
}

#[derive(Debug)]
struct Worker {
    socket: UnixStream,
    child: Child,
}

/// The slots.
#[derive(Debug)]
struct Memory {
    map: MmapRaw,
    /// Numbers in a slot.
    slot: usize,
}

impl Workers {
    /// Starts the other `size - 1` workers; `command(rank)` is what to run, which should call
    /// [`Workers::join`]. Their standard input is taken for the group.
    pub fn start(size: usize, mut command: impl FnMut(usize) -> Command) -> Result<Self, GroupError> {
        if !(1..=MOST).contains(&size) {
            return Err(GroupError::Size(size));
        }
        let (file, path) = shared_file().map_err(|error| GroupError::Memory { bytes: 0, error })?;
        let name = Name(path);
        let mut workers = Self {
            rank: 0,
            size,
            links: Links::Others(Vec::new()),
            file,
            memory: None,
        };
        for rank in 1..size {
            let invitation = format!("{rank}/{size}/{}", name.0.display());
            let worker = start_one(command(rank), &invitation);
            let worker = worker.map_err(|error| GroupError::Start { rank, error })?;
            if let Links::Others(others) = &mut workers.links {
                others.push(worker);
            }
        }
        // Everyone has opened the file once all have met, and its name can go.
        workers.meet(0)?;
        Ok(workers)
    }

    /// The place of this process in the group that has started it; none if nobody has.
    pub fn join() -> Result<Option<Self>, GroupError> {
        let Some(words) = env::var_os(INVITATION) else {
            return Ok(None);
        };
        let words = words.to_string_lossy().into_owned();
        let Some((rank, size, path)) = place(&words) else {
            return Err(GroupError::Invitation {
                name: INVITATION,
                value: words,
            });
        };
        let start = |error| GroupError::Start { rank, error };
        let socket = io::stdin().as_fd().try_clone_to_owned().map_err(start)?;
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| GroupError::Memory { bytes: 0, error })?;
        let mut workers = Self {
            rank,
            size,
            links: Links::First(UnixStream::from(socket)),
            file,
            memory: None,
        };
        workers.meet(0)?;
        Ok(Some(workers))
    }

    /// Waits until all are here to do the same: add up `len` numbers.
    fn meet(&mut self, len: usize) -> Result<(), GroupError> {
        let met = self.links.meet(len as u64);
        if met.is_err() {
            self.links.close();
        }
        met
    }

    /// Memory for slots of `len` numbers: everyone's at once, since all come here with the same `len`.
    fn grow(&mut self, len: usize) -> Result<(), GroupError> {
        if self.memory.as_ref().is_some_and(|memory| memory.slot >= len) {
            return Ok(());
        }
        let slot = len.next_multiple_of(1 << 10);
        let bytes = (slot * self.size * size_of::<f32>()) as u64;
        let failed = |error| GroupError::Memory { bytes, error };
        self.memory = None;
        if self.rank == 0 {
            // Written and not only made longer: where there is no room, that is an error now, and not a signal
            // at the first touch.
            let written = io::copy(&mut io::repeat(0).take(bytes), &mut &self.file);
            if written.is_err() {
                self.links.close();
            }
            written.map_err(failed)?;
        }
        self.meet(len)?;
        let map = MmapOptions::new()
            .len(bytes as usize)
            .map_raw(&self.file)
            .map_err(failed)?;
        self.memory = Some(Memory { map, slot });
        Ok(())
    }
}

impl AllReduce for Workers {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<(), GroupError> {
        let (len, rank, size) = (values.len(), self.rank, self.size);
        if size == 1 || len == 0 {
            return Ok(());
        }
        // Nobody reads slot 0 any more from the time before.
        self.meet(len)?;
        self.grow(len)?;
        let memory = self.memory.as_ref().expect("it was grown");
        // SAFETY: between these meetings a worker touches its own slot alone.
        let own = unsafe { memory.part(rank, 0..len) };
        copy(own, values);
        self.meet(len)?;
        let memory = self.memory.as_ref().expect("as above");
        let part = share(len, rank, size);
        // SAFETY: between these meetings a worker touches its own part of the slots alone.
        let (sum, others) = unsafe {
            let others = (1..size).map(|slot| &*memory.part(slot, part.clone()));
            (memory.part(0, part.clone()), others.collect::<Vec<_>>())
        };
        let tasks = sum.par_chunks_mut(CHUNK).enumerate();
        tasks.for_each(|(i, sum)| {
            for other in &others {
                let other = &other[i * CHUNK..i * CHUNK + sum.len()];
                sum.iter_mut().zip(other).for_each(|(sum, x)| *sum += x);
            }
        });
        self.meet(len)?;
        let memory = self.memory.as_ref().expect("as above");
        // SAFETY: until the next meeting slot 0 is only read.
        copy(values, unsafe { memory.part(0, 0..len) });
        Ok(())
    }

    fn finish(&mut self) -> Result<(), GroupError> {
        self.links.close();
        let Links::Others(others) = &mut self.links else {
            return Ok(());
        };
        let mut failed = None;
        for (mut worker, rank) in std::mem::take(others).into_iter().zip(1..) {
            let what = match worker.child.wait() {
                Ok(status) if status.success() => continue,
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            failed.get_or_insert(GroupError::Gone { rank, what });
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Drop for Workers {
    /// Without rank 0 the others have nothing to do: they are stopped.
    fn drop(&mut self) {
        self.links.close();
        if let Links::Others(others) = &mut self.links {
            for worker in others {
                // Either may have ended already.
                let _ = worker.child.kill();
                let _ = worker.child.wait();
            }
        }
    }
}

impl Links {
    fn meet(&mut self, word: u64) -> Result<(), GroupError> {
        let gone = |rank, error: io::Error| {
            let ended = error.kind() == io::ErrorKind::UnexpectedEof;
            let what = if ended {
                "its socket is closed".into()
            } else {
                error.to_string()
            };
            GroupError::Gone { rank, what }
        };
        match self {
            Self::First(socket) => {
                let heard = tell(socket, word).and_then(|()| hear(socket));
                let heard = heard.map_err(|error| gone(0, error))?;
                same(0, heard, word)
            }
            Self::Others(others) => {
                for (worker, rank) in others.iter_mut().zip(1..) {
                    let heard = hear(&mut worker.socket).map_err(|error| gone(rank, error))?;
                    same(rank, heard, word)?;
                }
                for (worker, rank) in others.iter_mut().zip(1..) {
                    tell(&mut worker.socket, word).map_err(|error| gone(rank, error))?;
                }
                Ok(())
            }
        }
    }

    /// So that those who wait needn't any longer.
    fn close(&mut self) {
        let sockets: Vec<&UnixStream> = match self {
            Self::First(socket) => vec![socket],
            Self::Others(others) => others.iter().map(|worker| &worker.socket).collect(),
        };
        for socket in sockets {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Memory {
    /// Some numbers of a slot.
    ///
    /// # Safety
    /// No worker may write them, or only this one may touch them, as long as they are used; and they may be
    /// had once at a time.
    #[allow(
        clippy::mut_from_ref,
        reason = "the memory is many processes'; meetings keep them apart"
    )]
    unsafe fn part(&self, slot: usize, range: Range<usize>) -> &mut [f32] {
        let (start, end) = (slot * self.slot + range.start, slot * self.slot + range.end);
        assert!(
            range.end <= self.slot && end * size_of::<f32>() <= self.map.len(),
            "within the slot"
        );
        let first = self.map.as_mut_ptr().cast::<f32>();
        // SAFETY: within the map, which is aligned to pages; any bytes are numbers; the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(first.add(start), range.len()) }
    }
}

fn copy(to: &mut [f32], from: &[f32]) {
    let tasks = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
    tasks.for_each(|(to, from)| to.copy_from_slice(from));
}

fn tell(socket: &mut UnixStream, word: u64) -> io::Result<()> {
    socket.write_all(&word.to_le_bytes())
}

fn hear(socket: &mut UnixStream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    socket.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn same(rank: usize, theirs: u64, ours: u64) -> Result<(), GroupError> {
    if theirs == ours {
        Ok(())
    } else {
        Err(GroupError::apart(rank, theirs, ours))
    }
}

fn start_one(mut command: Command, invitation: &str) -> io::Result<Worker> {
    let (socket, theirs) = UnixStream::pair()?;
    command
        .env(INVITATION, invitation)
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    let child = command.spawn()?;
    // The command goes, and with it this side's hold on the other end: only the child keeps it open.
    Ok(Worker { socket, child })
}

/// Rank, size and the file that an invitation tells.
fn place(words: &str) -> Option<(usize, usize, PathBuf)> {
    let (rank, rest) = words.split_once('/')?;
    let (size, path) = rest.split_once('/')?;
    let (rank, size) = (rank.parse().ok()?, size.parse().ok()?);
    let fits = 0 < rank && rank < size && size <= MOST;
    fits.then(|| (rank, size, PathBuf::from(path)))
}

/// A file that goes when this does.
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = fs::remove_file(&self.0);
    }
}

/// An empty file in memory, if the system has a place for such.
fn shared_file() -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        memory.to_owned()
    } else {
        env::temp_dir()
    };
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("khub-workers-{}-{count}", std::process::id()));
    // One that a killed process of the same number has left is nobody's.
    let _ = fs::remove_file(&path);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    Ok((file, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toy::{Adder, RULES, Sums, bits, config};
    use crate::{Error, Flow, TrainConfig, Trainer};
    use nn::Model;
    use tempfile::tempdir;

    /// Where workers leave their results.
    const FOLDER: &str = "KHUB_TEST_FOLDER";
    /// Who dies.
    const VICTIM: &str = "KHUB_TEST_VICTIM";

    /// This binary once more, to do the same test.
    fn again(test: &str) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([&format!("workers::tests::{test}"), "--exact", "--nocapture"]);
        command
    }

    fn group_of(size: usize, test: &str, folder: &Path) -> Workers {
        let command = |_| {
            let mut command = again(test);
            command.env(FOLDER, folder).stdout(Stdio::null());
            command
        };
        Workers::start(size, command).unwrap()
    }

    /// 20 steps, and one of a single sample: of three workers, two have nothing to do.
    fn train_in(workers: Workers, optimizer: crate::Rule) -> (Vec<f32>, Trainer<Adder>) {
        let config = TrainConfig {
            optimizer,
            ..config()
        };
        let model = Model::new(Adder::default(), 2);
        let mut trainer = Trainer::in_group(model, config, Box::new(workers)).unwrap();
        let mut losses = Vec::new();
        let mut after = |step: &crate::Step| {
            losses.push(step.loss);
            Flow::GoOn
        };
        trainer.train(&Sums, 0, 161, &mut after).unwrap();
        (losses, trainer)
    }

    fn result(losses: &[f32], trainer: &Trainer<Adder>) -> String {
        format!("{losses:?} {:?}", bits(trainer))
    }

    #[test]
    fn so_many_workers_train_as_one() {
        let test = "so_many_workers_train_as_one";
        for optimizer in RULES {
            if let Some(workers) = Workers::join().unwrap() {
                let folder = PathBuf::from(env::var_os(FOLDER).unwrap());
                let optimizer = RULES[usize::from(folder.join("muon").exists())];
                let file = folder.join(workers.rank().to_string());
                let (losses, trainer) = train_in(workers, optimizer);
                return fs::write(file, result(&losses, &trainer)).unwrap();
            }
            let mut alone = None;
            for size in 1..=3 {
                let folder = tempdir().unwrap();
                if optimizer == RULES[1] {
                    fs::write(folder.path().join("muon"), "").unwrap();
                }
                let workers = group_of(size, test, folder.path());
                let (losses, mut trainer) = train_in(workers, optimizer);
                trainer.group().finish().unwrap();
                for rank in 1..size {
                    let theirs = fs::read_to_string(folder.path().join(rank.to_string())).unwrap();
                    assert!(theirs == result(&losses, &trainer), "{rank} of {size}");
                }
                let (alone_losses, alone) =
                    alone.get_or_insert((losses.clone(), trainer.model.params.clone()));
                let pairs = alone_losses
                    .iter()
                    .zip(&losses)
                    .chain(alone.iter().zip(&trainer.model.params));
                let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                eprintln!("{optimizer:?} {size} {apart}");
                assert!(apart < 1e-4, "{optimizer:?} with {size} workers: {apart}");
            }
        }
    }

    /// Numbers whose sum depends on the order in which they are added up.
    fn number(rank: usize, i: usize) -> f32 {
        ((i * 37 + rank * 101) as f32 * 0.7).sin() * 10f32.powi((i + 3 * rank) as i32 % 7)
    }

    #[test]
    fn sums_are_those_of_the_order_of_ranks() {
        let lengths = [1, 4097, 3, 0, 20_000, 5_000, 1_000_000];
        let sum = |workers: &mut Workers, len| {
            let rank = workers.rank();
            let mut values: Vec<f32> = (0..len).map(|i| number(rank, i)).collect();
            workers.sum(&mut values).unwrap();
            let plain = (0..len).map(|i| (1..workers.size()).fold(number(0, i), |sum, r| sum + number(r, i)));
            assert!(values.iter().copied().eq(plain), "{len} numbers in {rank}");
        };
        let mut workers = match Workers::join().unwrap() {
            Some(workers) => workers,
            None => group_of(4, "sums_are_those_of_the_order_of_ranks", Path::new("")),
        };
        lengths.iter().for_each(|&len| sum(&mut workers, len));
        workers.finish().unwrap();
    }

    #[test]
    fn workers_that_do_different_things_stop() {
        let joined = Workers::join().unwrap();
        let len = if joined.is_some() { 5 } else { 4 };
        let mut workers =
            joined.unwrap_or_else(|| group_of(2, "workers_that_do_different_things_stop", Path::new("")));
        let error = workers.sum(&mut vec![1.0; len]).unwrap_err().to_string();
        let expected = if len == 4 {
            "worker 1 is at something else: it adds up 5 numbers"
        } else {
            "worker 0"
        };
        assert!(error.contains(expected), "{error}");
        workers.finish().unwrap();
    }

    /// A group whose first process is a child too, so that it can die as well; and those who are left tell
    /// what they see.
    #[test]
    fn who_dies_is_an_error_in_all_others() {
        let test = "who_dies_is_an_error_in_all_others";
        if env::var_os(VICTIM).is_some() {
            return be_in_a_group_of_which_one_dies(test);
        }
        for victim in 0..3 {
            let said = again(test)
                .env(VICTIM, victim.to_string())
                .stderr(Stdio::null())
                .output();
            // The output ends when all have ended who may write there.
            let said = String::from_utf8(said.unwrap().stdout).unwrap();
            for rank in (0..3).filter(|rank| *rank != victim) {
                let seen = said
                    .lines()
                    .find(|line| line.contains(&format!("rank {rank} sees")));
                let seen = seen.unwrap_or_else(|| panic!("{rank} of {victim}: {said}"));
                let who = if rank == 0 { victim } else { 0 };
                assert!(seen.contains(&format!("worker {who} is gone")), "{seen}");
            }
            assert!(!said.contains(&format!("rank {victim} sees")), "{said}");
        }
    }

    fn be_in_a_group_of_which_one_dies(test: &str) {
        let workers = match Workers::join().unwrap() {
            Some(workers) => workers,
            None => Workers::start(3, |_| again(test)).unwrap(),
        };
        let rank = workers.rank();
        let victim = env::var(VICTIM).unwrap() == rank.to_string();
        let model = Model::new(Adder::default(), 2);
        let mut trainer = Trainer::in_group(model, config(), Box::new(workers)).unwrap();
        let mut after = |step: &crate::Step| {
            if victim && step.step == 3 {
                std::process::abort();
            }
            Flow::GoOn
        };
        match trainer.train(&Sums, 0, 8_000, &mut after) {
            Err(Error::Group(error)) => println!("rank {rank} sees: {error}"),
            other => println!("{rank}: {other:?}"),
        }
        // The first one waits, so that it doesn't stop those who have something to say.
        let _ = trainer.group().finish();
    }

    #[test]
    fn what_can_t_be_started_is_told() {
        let none = Workers::start(3, |_| Command::new("/no/such/program"));
        let error = none.unwrap_err().to_string();
        assert!(
            error.contains("worker 1 can't be started: No such file"),
            "{error}"
        );
        for size in [0, MOST + 1] {
            let error = Workers::start(size, |_| unreachable!()).unwrap_err().to_string();
            assert!(error.contains("it takes 1 to 1024"), "{error}");
        }
        // One that ends at once, as after a wrong configuration.
        let error = Workers::start(2, |_| Command::new("true"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("worker 1 is gone"), "{error}");
    }

    #[test]
    fn an_invitation_is_read_or_refused() {
        assert_eq!(place("2/3//dev/shm/x"), Some((2, 3, PathBuf::from("/dev/shm/x"))));
        for words in [
            "",
            "1",
            "1/2",
            "0/2//x",
            "2/2//x",
            "-1/2//x",
            "1/9999//x",
            "a/b/c",
        ] {
            assert_eq!(place(words), None, "{words}");
        }
    }
}
