//! An S3-compatible server of a test's own, by `xtask/seaweedfs.sh`, and a line to it that can be cut. Other crates' tests
//! take this file in as well, and not each uses all of it.
#![allow(dead_code, reason = "see above")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// SeaweedFS. Gone when it is dropped, and when the test is killed.
pub(crate) struct Server {
    script: Child,
    pub(crate) endpoint: String,
    /// Its file server, which shows what lies there and asks for no keys.
    files: String,
}

impl Server {
    /// None where there is no such server, which is told; in CI there must be one.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with options of its own.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(crate) fn start_with(options: &[&str]) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../xtask/seaweedfs.sh");
        let mut script = Command::new(script)
            .arg(env!("CARGO_TARGET_TMPDIR"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(script.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some((endpoint, files)) = line.trim().split_once(' ') else {
            let code = script.wait().unwrap().code();
            assert_eq!(code, Some(77), "xtask/seaweedfs.sh failed");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI has no S3");
            eprintln!("skipped: there is no S3-compatible server here, as said above");
            return None;
        };
        let (endpoint, files) = (endpoint.to_owned(), files.to_owned());
        Some(Self {
            script,
            endpoint,
            files,
        })
    }

    /// All objects of the bucket below `folder`, as paths with their sizes. Parts of what is unfinished are below
    /// `.uploads`.
    pub(crate) fn files(&self, folder: &str) -> Vec<(String, u64)> {
        let url = format!("{}/buckets/khub/{folder}/?limit=100000", self.files);
        let answer = ureq::get(url).header("accept", "application/json").call();
        let Ok(mut answer) = answer else {
            return Vec::new();
        };
        let listed: serde_json::Value = serde_json::from_reader(answer.body_mut().as_reader()).unwrap();
        let mut files = Vec::new();
        for entry in listed["Entries"].as_array().into_iter().flatten() {
            let path = entry["FullPath"].as_str().unwrap();
            let path = path.strip_prefix("/buckets/khub/").unwrap().to_owned();
            let is_folder = entry["Mode"].as_u64().unwrap() & (1 << 31) != 0;
            match is_folder {
                true => files.extend(self.files(&path)),
                false => files.push((path, entry["FileSize"].as_u64().unwrap())),
            }
        }
        files.sort();
        files
    }

    /// Waits for a part of an object that isn't complete.
    pub(crate) fn until_a_part_is_there(&self) {
        while self.files(".uploads").is_empty() {
            std::thread::yield_now();
        }
    }

    /// Puts other bytes where an object is, as nobody should.
    pub(crate) fn overwrite(&self, path: &str, bytes: &[u8]) {
        let url = format!("{}/buckets/khub/{path}", self.files);
        ureq::put(url).send(bytes).unwrap();
    }

    pub(crate) fn remove(&self, path: &str) {
        let url = format!("{}/buckets/khub/{path}", self.files);
        ureq::delete(url).call().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// What the environment of a hub says that may use the server at `endpoint`.
pub(crate) fn settings(endpoint: &str) -> Vec<(String, String)> {
    with_keys(endpoint, "khub-key", "khub-secret")
}

pub(crate) fn with_keys(endpoint: &str, key: &str, secret: &str) -> Vec<(String, String)> {
    let settings = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    settings
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A line to the server, of which a test decides when it breaks or stands still.
pub(crate) struct Line {
    pub(crate) endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    /// How many bytes may still go to the server before the line stands still.
    credit: Mutex<Option<u64>>,
    stands: Condvar,
    stood: AtomicU64,
    /// All that was sent to the server begins with these; kept for counting.
    asked: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
}

impl Line {
    pub(crate) fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let target = server.endpoint.strip_prefix("http://").unwrap().to_owned();
        let state = Arc::<State>::default();
        let at = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if at.is_cut.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                at.carry(client, server);
            }
        });
        Self { endpoint, state }
    }

    /// Ends all connections, and takes no more.
    pub(crate) fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        for end in self.state.open.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
        *self.state.credit.lock().unwrap() = None;
        self.state.stands.notify_all();
    }

    /// After so many bytes to the server it stands still.
    pub(crate) fn stand_still_after(&self, bytes: u64) {
        *self.state.credit.lock().unwrap() = Some(bytes);
    }

    /// Waits until it does.
    pub(crate) fn until_it_stands(&self) {
        let mut credit = self.state.credit.lock().unwrap();
        while *credit != Some(0) || self.state.stood.load(Ordering::SeqCst) == 0 {
            credit = self.state.stands.wait(credit).unwrap();
        }
    }

    /// How many requests began so.
    pub(crate) fn asked(&self, begins: &str) -> usize {
        let asked = self.state.asked.lock().unwrap();
        asked.iter().filter(|line| line.starts_with(begins)).count()
    }
}

impl State {
    fn carry(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        let ends = [client.try_clone(), server.try_clone()].map(Result::unwrap);
        self.open.lock().unwrap().extend(ends);
        let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut back, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
        });
        let (at, mut from, mut to) = (Arc::clone(self), client, server);
        std::thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count.min(400)]);
                let line = text.lines().next().unwrap_or_default().to_owned();
                at.asked.lock().unwrap().push(line);
                at.spend(count as u64);
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
    }

    /// Waits while the line stands still.
    fn spend(&self, count: u64) {
        let mut credit = self.credit.lock().unwrap();
        match &mut *credit {
            None => return,
            Some(left) if *left > count => {
                *left -= count;
                return;
            }
            Some(left) => *left = 0,
        }
        self.stood.fetch_add(1, Ordering::SeqCst);
        self.stands.notify_all();
        while credit.is_some() {
            credit = self.stands.wait(credit).unwrap();
        }
    }
}
