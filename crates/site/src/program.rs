//! A program that does a job: a child process of the site's, or one that somebody else started and that
//! attaches. It hears orders on its line to the site and ends with it, so it never outlives its site, however
//! that ends.
//!
//! A child of khub's own talks on standard input and output. An operator's command may be a launcher, whose
//! standard input and output don't reach the process that trains, so it can also connect to the socket in the
//! job's folder ([`sync::socket`]); from then on that is its line. Whoever attaches connects there too.

use crate::SiteError;
use crate::edge::Word;
use crate::machine::Heard;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use sync::{Order, Said, socket};

/// How a site comes to its programs.
///
/// ```
/// use site::{Programs, Source};
/// let mut programs = Programs::of(vec!["khub".into(), "program".into()]);
/// programs.named.insert("gpt".into(), Source::Command("torchrun --nproc-per-node 8 train.py".into()));
/// programs.named.insert("notebook".into(), Source::Attach);
/// ```
#[derive(Debug, Clone)]
pub struct Programs {
    /// The command that starts all others; the program's name and `--folder DIR` are added to it.
    pub own: Vec<OsString>,
    /// Programs that come in another way.
    pub named: BTreeMap<String, Source>,
    /// Folders of the site's own data, by program. It is told where they are, and nobody else is.
    pub data: BTreeMap<String, PathBuf>,
}

/// Where a program comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command of the operator's, for the shell. It finds the job's folder in `KHUB_JOB_FOLDER`, and in
    /// `KHUB_SOCKET` the socket it may talk on instead of standard input and output.
    Command(String),
    /// Somebody starts it, and it connects to the socket in the job's folder.
    Attach,
}

/// How long a command of the operator's may take to end its processes once its line has.
const LEAVE: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// A program that runs, or that is waited for.
pub(crate) struct Program {
    child: Option<Child>,
    line: Arc<Line>,
    /// How long the child may take to end.
    leave: Duration,
}

impl Programs {
    /// The programs that `own` starts.
    pub fn of(own: Vec<OsString>) -> Self {
        Self {
            own,
            named: BTreeMap::new(),
            data: BTreeMap::new(),
        }
    }
}

impl Program {
    /// Starts the program `name`, or waits for it; what it says arrives at `tell`, under its number.
    pub(crate) fn start(
        number: u64,
        programs: &Programs,
        name: &str,
        folder: &Path,
        threads: Option<usize>,
        tell: Sender<Word>,
    ) -> Result<Self, SiteError> {
        let line = Arc::new(Line::new(number, folder, tell));
        let (mut starting, leave) = match programs.named.get(name) {
            Some(Source::Attach) => {
                line.meet()?;
                let message = format!("waiting for a program to attach at {}", line.socket().display());
                line.tell(Said::Note { message });
                return Ok(Self {
                    child: None,
                    line,
                    leave: Duration::ZERO,
                });
            }
            Some(Source::Command(command)) => {
                line.meet()?;
                (operators(command, &line, threads), LEAVE)
            }
            None => (own(&programs.own, name, folder, threads), Duration::ZERO),
        };
        if let Some(data) = programs.data.get(name) {
            starting.env(socket::OWN_VARIABLE, data);
        }
        let path = PathBuf::from(starting.get_program());
        let failed = |why| SiteError::File { path, why };
        starting
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = starting.spawn().map_err(failed)?;
        line.open(child.stdin.take().expect("its standard input is piped"));
        line.read(child.stdout.take().expect("its standard output is piped"));
        Ok(Self {
            child: Some(child),
            line,
            leave,
        })
    }

    /// Gives an order. A program that has ended doesn't hear it; its end is reported by itself.
    pub(crate) fn order(&mut self, order: &Order) {
        self.line.order(order);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.line.close();
        let Some(child) = &mut self.child else { return };
        // A launcher that is killed leaves its processes behind; the end of the line is what ends them all.
        let until = Instant::now() + self.leave;
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        // It may have ended by itself, which is as good.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// `own NAME --folder DIR`.
fn own(own: &[OsString], name: &str, folder: &Path, threads: Option<usize>) -> Command {
    let (first, rest) = own
        .split_first()
        .expect("a site is configured with a command for programs");
    let mut command = Command::new(first);
    command.args(rest).arg(name).arg("--folder").arg(folder);
    if let Some(threads) = threads {
        command.env("RAYON_NUM_THREADS", threads.to_string());
    }
    command
}

/// What the operator wrote, in place of the shell that read it.
fn operators(written: &str, line: &Line, threads: Option<usize>) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("exec {written}"))
        .env(socket::FOLDER_VARIABLE, &line.folder)
        .env(socket::SOCKET_VARIABLE, line.socket());
    if let Some(threads) = threads {
        command.env("OMP_NUM_THREADS", threads.to_string());
    }
    command
}

/// The line to a program.
struct Line {
    number: u64,
    folder: PathBuf,
    tell: Sender<Word>,
    /// Where orders go: nowhere before it connects.
    out: Mutex<Option<Box<dyn Write + Send>>>,
    /// The program that connected, to hang up on it.
    connected: Mutex<Option<UnixStream>>,
    listens: AtomicBool,
    closed: AtomicBool,
}

impl Line {
    fn new(number: u64, folder: &Path, tell: Sender<Word>) -> Self {
        Self {
            number,
            // A program may have another working folder.
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            tell,
            out: Mutex::default(),
            connected: Mutex::default(),
            listens: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        }
    }

    fn socket(&self) -> PathBuf {
        socket::path(&self.folder)
    }

    /// Waits at the socket for a program, in a thread of its own.
    fn meet(self: &Arc<Self>) -> Result<(), SiteError> {
        let path = self.socket();
        let listener = socket::listen(&self.folder).map_err(|why| SiteError::File { path, why })?;
        self.listens.store(true, Ordering::Release);
        let line = Arc::clone(self);
        std::thread::spawn(move || line.accept(&listener));
        Ok(())
    }

    /// The first that connects is the program; the others find the line taken.
    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        let halves = listener.accept().and_then(|(stream, _)| {
            let (out, hang_up) = (stream.try_clone()?, stream.try_clone()?);
            Ok((stream, out, hang_up))
        });
        match halves {
            Ok((stream, out, hang_up)) => {
                *self.connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(hang_up);
                if self.closed.load(Ordering::Acquire) {
                    return;
                }
                self.open(out);
                // What it prints otherwise is no longer the contract's.
                let how = self.listen(BufReader::new(stream), true);
                self.ended(how);
            }
            Err(error) => self.ended(format!("its socket can't be read: {error}")),
        }
    }

    fn open(&self, out: impl Write + Send + 'static) {
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(out));
    }

    /// Hears a child's standard output, in a thread of its own.
    fn read(self: &Arc<Self>, output: ChildStdout) {
        let line = Arc::clone(self);
        std::thread::spawn(move || {
            let how = line.listen(BufReader::new(output), false);
            line.ended(how);
        });
    }

    fn order(&self, order: &Order) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(out) = out.as_mut() {
            let _ = out.write_all(order.line().as_bytes()).and_then(|()| out.flush());
        }
    }

    /// A line that isn't the contract's is taken for a note: libraries print things.
    fn listen(&self, mut output: impl BufRead, is_socket: bool) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            match output.read_line(&mut line) {
                Ok(0) => return "it closed its output".to_owned(),
                Ok(_) => self.tell(self.understood(&line, is_socket)),
                Err(error) => return format!("its output can't be read: {error}"),
            }
        }
    }

    fn understood(&self, line: &str, is_socket: bool) -> Said {
        let taken = || {
            self.connected
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
        };
        if !is_socket && self.listens.load(Ordering::Acquire) && (taken() || !line.starts_with('{')) {
            return Said::Note {
                message: line.trim_end().to_owned(),
            };
        }
        Said::read(line).unwrap_or_else(|error| Said::Note {
            message: error.to_string(),
        })
    }

    /// The site may have stopped in the meantime, and then hears nothing.
    fn tell(&self, said: Said) {
        let _ = self.tell.send(Word::Heard(Heard::Said(self.number, said)));
    }

    fn ended(&self, how: String) {
        let _ = self.tell.send(Word::Heard(Heard::Ended(self.number, how)));
    }

    /// The end of the line is the program's end.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        *self.out.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(connected) = &connected {
            // It has hung up itself, or does now.
            let _ = connected.shutdown(std::net::Shutdown::Both);
        } else if self.listens.load(Ordering::Acquire) {
            // Wakes the thread that waits.
            let _ = socket::connect(&self.folder);
        }
        if self.listens.load(Ordering::Acquire) {
            let _ = std::fs::remove_file(self.socket());
        }
    }
}
