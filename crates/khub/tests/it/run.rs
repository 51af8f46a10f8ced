//! A run of real processes: a hub with the example's consortium, its sites, and a job.

use api::{Client, JobView};
use consortium::{ArtifactId, ArtifactKind, Digest, JobId, JobSpec, Label, Output};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The example's consortium with a hub of its own, and a job that two of its sites run.
pub(crate) struct Run {
    pub(crate) folder: TempDir,
    hub: Option<Process>,
    url: String,
    pub(crate) member: Client,
    pub(crate) job: JobId,
}

impl Run {
    /// A job that `spec` makes for a member, who may keep files in a folder.
    pub(crate) fn start(spec: impl FnOnce(&Client, &Path) -> JobSpec) -> Self {
        let folder = found();
        let (hub, url) = serve(folder.path().to_str().unwrap(), "127.0.0.1:0");
        let token = std::fs::read_to_string(folder.path().join("credentials/minji")).unwrap();
        let member = Client::new(&url, token.trim()).unwrap();
        let spec = spec(&member, folder.path());
        let job = member.submit(&spec, "k").unwrap();
        Self {
            folder,
            hub: Some(hub),
            url,
            member,
            job,
        }
    }

    pub(crate) fn site(&self, name: &str) -> Process {
        self.site_with(name, &[])
    }

    /// A site that is told more.
    pub(crate) fn site_with(&self, name: &str, more: &[&str]) -> Process {
        Process::of(self.site_command(name, more).stderr(Stdio::null()))
    }

    /// The same, with the lines that it has for people.
    pub(crate) fn site_noting(&self, name: &str, more: &[&str]) -> (Process, Lines<BufReader<ChildStderr>>) {
        let mut site = Process::of(self.site_command(name, more).stderr(Stdio::piped()));
        let notes = site.0.stderr.take().unwrap();
        (site, BufReader::new(notes).lines())
    }

    fn site_command(&self, name: &str, more: &[&str]) -> Command {
        let credential = self.folder.path().join("credentials").join(name);
        let home = self.folder.path().join("sites").join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
        command.args(["site", "--with-parent", "--threads", "1", "--hub", &self.url]);
        command
            .arg("--credential")
            .arg(credential)
            .arg("--folder")
            .arg(home);
        command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Kills the hub and starts it again where it was.
    pub(crate) fn restart_hub(&mut self) {
        let port = self.url.strip_prefix("http://").unwrap().to_owned();
        self.hub.take().unwrap().kill();
        let (hub, _) = serve(self.folder.path().to_str().unwrap(), &port);
        self.hub = Some(hub);
    }

    /// The job, as soon as it is as wanted.
    pub(crate) fn until(&self, wanted: impl Fn(&JobView) -> bool) -> JobView {
        let mut view = self.member.job(self.job).unwrap();
        while !wanted(&view) {
            assert!(view.job.is_active(), "{:?}", view.job.phase);
            view = self
                .member
                .job_after(self.job, view.seq, Duration::from_secs(30))
                .unwrap();
        }
        view
    }

    /// What must hold of a finished run, whatever happened on the way.
    pub(crate) fn check(&self, view: &JobView, sites: usize) {
        for round in &view.job.rounds {
            let outer: Vec<&Digest> = round.outer.values().collect();
            assert!(
                outer.windows(2).all(|pair| pair[0] == pair[1]),
                "round {}",
                round.number
            );
        }
        let last = view.job.rounds.last().unwrap();
        assert_eq!(last.outer.len(), sites, "all sites have applied the last round");
        let resets = view.job.members.values().filter(|member| member.reset.is_some());
        assert_eq!(resets.count(), 0, "a killed site goes on from its own checkpoint");
        check_intervals(view);
        self.check_money(view);
    }

    /// Every site is paid for what its meter says and no more; nothing stays reserved.
    fn check_money(&self, view: &JobView) {
        for member in view.job.members.values() {
            let used = member.placed.rated.during(member.total().millis);
            assert_eq!(member.charged, member.placed.price.of(used), "{member:?}");
        }
        let mut held = BTreeMap::new();
        for posting in self.member.postings(self.job).unwrap() {
            *held.entry(posting.account.to_string()).or_insert(0) += posting.won.0;
        }
        assert_eq!(held.values().sum::<i64>(), 0, "{held:?}");
        let mut reserved = held.iter().filter(|(account, _)| account.starts_with("reserved"));
        assert!(reserved.all(|(_, won)| *won == 0), "{held:?}");
        store::Reader::open(self.folder.path()).unwrap().verify().unwrap();
    }
}

/// No sample counts twice.
fn check_intervals(view: &JobView) {
    let counted = |round: &consortium::Round| {
        round
            .updates
            .keys()
            .map(|site| round.members[site])
            .collect::<Vec<_>>()
    };
    let mut intervals: Vec<_> = view.job.rounds.iter().flat_map(counted).collect();
    intervals.sort();
    assert!(
        intervals.windows(2).all(|pair| pair[0].end <= pair[1].first),
        "{intervals:?}"
    );
}

/// Keeps a file of `folder` at the hub, open.
pub(crate) fn put(member: &Client, folder: &Path, name: &str) -> Digest {
    let path = folder.join(name);
    let bytes = std::fs::read(&path).unwrap();
    let id = ArtifactId {
        project: "korean-reviews".parse().unwrap(),
        digest: Digest::of(&bytes),
    };
    let digest = id.digest;
    let (name, kind, bytes) = (name.to_owned(), ArtifactKind::Dataset, bytes.len() as u64);
    member
        .put(
            &path,
            &Output {
                id,
                name,
                kind,
                bytes,
                label: Label::Open,
                made_from: vec![],
            },
        )
        .unwrap();
    digest
}

/// A folder with the example's consortium.
pub(crate) fn found() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
    let at = folder.path().to_str().unwrap();
    let found = Process::khub(&["found", example.to_str().unwrap(), "--folder", at])
        .0
        .wait();
    assert!(found.unwrap().success());
    folder
}

/// Its hub, and where that answers.
pub(crate) fn serve(folder: &str, listen: &str) -> (Process, String) {
    let mut khub = Command::new(env!("CARGO_BIN_EXE_khub"));
    khub.args([
        "serve",
        "--folder",
        folder,
        "--listen",
        listen,
        "--lose-after",
        "0.2",
    ]);
    listening(&mut khub)
}

/// The hub that a command starts, and where it answers.
pub(crate) fn listening(command: &mut Command) -> (Process, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hub = Process::of(command.stderr(Stdio::null()));
    let mut line = String::new();
    BufReader::new(hub.stdout()).read_line(&mut line).unwrap();
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect(&line);
    (hub, url.to_owned())
}

/// A process that doesn't outlive its test.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn khub(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self::of(&mut command)
    }

    pub(crate) fn of(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// What it prints from now on.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    /// What it had printed until it was killed.
    pub(crate) fn kill_and_read(mut self) -> String {
        let mut text = String::new();
        let mut stdout = self.stdout();
        self.kill();
        stdout.read_to_string(&mut text).unwrap();
        text
    }

    /// SIGKILL: no process can prepare for it.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
