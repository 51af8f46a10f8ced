//! Real processes, killed in the middle of a run: a site, and the hub itself.

use api::{Client, JobView};
use consortium::{
    ArtifactId, ArtifactKind, Digest, JobId, JobSpec, Label, Output, Phase, Presence, RoundSpec, SiteId,
};
use language::{Corpus, Limits};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

#[test]
fn the_run_goes_on_without_a_killed_site_which_rejoins() {
    let run = Run::start(150, 1);
    let (hangang, _namsan) = (run.site("hangang-1"), run.site("namsan-1"));
    run.until(|view| view.committed >= 2);
    hangang.kill();
    let lost = run.until(|view| presence(view, "hangang-1") == Presence::Lost);
    // The other goes on alone.
    run.until(|view| view.committed >= lost.committed + 2);
    let _hangang = run.site("hangang-1");
    let site: SiteId = "hangang-1".parse().unwrap();
    let back = run.until(|view| {
        let since = view.job.rounds.iter().skip(lost.committed as usize + 1);
        since.clone().any(|round| round.updates.contains_key(&site))
    });
    assert_eq!(back.job.members[&site].attempt, 2);
    let done = run.until(|view| view.job.phase == Phase::Done);
    assert!(done.job.rounds.iter().any(|round| round.updates.len() == 1));
    run.check(&done);
}

#[test]
fn the_run_waits_for_a_killed_site_that_it_needs() {
    let run = Run::start(6, 2);
    let (hangang, _namsan) = (run.site("hangang-1"), run.site("namsan-1"));
    run.until(|view| view.committed >= 2);
    hangang.kill();
    run.until(|view| presence(view, "hangang-1") == Presence::Lost);
    let _hangang = run.site("hangang-1");
    let done = run.until(|view| view.job.phase == Phase::Done);
    assert!(done.job.rounds.iter().all(|round| round.updates.len() == 2));
    run.check(&done);
}

#[test]
fn a_killed_hub_has_lost_nothing() {
    let mut run = Run::start(6, 2);
    let _sites = (run.site("hangang-1"), run.site("namsan-1"));
    let before = run.until(|view| view.committed >= 2);
    run.restart_hub();
    let after = run.member.job(run.job).unwrap();
    assert!(after.committed >= before.committed, "what was told is there");
    let done = run.until(|view| view.job.phase == Phase::Done);
    run.check(&done);
}

/// The example's consortium with a hub of its own, and a job that two of its sites run.
struct Run {
    folder: TempDir,
    hub: Option<Process>,
    url: String,
    member: Client,
    job: JobId,
}

impl Run {
    /// A job of `rounds` rounds of a tiny model, each closed by `quorum` updates.
    fn start(rounds: u32, quorum: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("example.toml");
        let at = folder.path().to_str().unwrap();
        let found = Process::khub(&["found", example.to_str().unwrap(), "--folder", at])
            .0
            .wait();
        assert!(found.unwrap().success());
        let (hub, url) = serve(at, "127.0.0.1:0");
        let token = std::fs::read_to_string(folder.path().join("credentials/minji")).unwrap();
        let member = Client::new(&url, token.trim()).unwrap();
        let spec = spec(&member, folder.path(), rounds, quorum);
        let job = member.submit(&spec, "k").unwrap();
        Self {
            folder,
            hub: Some(hub),
            url,
            member,
            job,
        }
    }

    fn site(&self, name: &str) -> Process {
        let credential = self.folder.path().join("credentials").join(name);
        let home = self.folder.path().join("sites").join(name);
        let (credential, home) = (credential.to_str().unwrap(), home.to_str().unwrap());
        let args = ["site", "--with-parent", "--threads", "1", "--hub", &self.url];
        Process::khub(&[&args[..], &["--credential", credential, "--folder", home]].concat())
    }

    /// Kills the hub and starts it again where it was.
    fn restart_hub(&mut self) {
        let port = self.url.strip_prefix("http://").unwrap().to_owned();
        self.hub.take().unwrap().kill();
        let (hub, _) = serve(self.folder.path().to_str().unwrap(), &port);
        self.hub = Some(hub);
    }

    /// The job, as soon as it is as wanted.
    fn until(&self, wanted: impl Fn(&JobView) -> bool) -> JobView {
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
    fn check(&self, view: &JobView) {
        for round in &view.job.rounds {
            let outer: Vec<&Digest> = round.outer.values().collect();
            assert!(
                outer.windows(2).all(|pair| pair[0] == pair[1]),
                "round {}",
                round.number
            );
        }
        let last = view.job.rounds.last().unwrap();
        assert_eq!(last.outer.len(), 2, "both sites have applied the last round");
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

fn presence(view: &JobView, site: &str) -> Presence {
    view.job.members[&site.parse::<SiteId>().unwrap()].presence
}

fn spec(member: &Client, folder: &Path, rounds: u32, quorum: u32) -> JobSpec {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).unwrap();
    let limits = Limits {
        train_bytes: 60_000,
        valid_bytes: 4_000,
    };
    let corpus = Corpus::from_text("the primer", language::PRIMER, limits).unwrap();
    language::prepare(&corpus, 512, &data, &mut |_| {}).unwrap();
    let inputs = ["tokenizer.json", "train.tokens", "valid.tokens"];
    let inputs = inputs.map(|name| (name.to_owned(), put(member, &data, name)));
    JobSpec {
        name: "tiny".into(),
        project: "korean-reviews".parse().unwrap(),
        program: "language".into(),
        label: Label::Restricted,
        sites: 2,
        wall_minutes: 10,
        gpus: None,
        gpu: None,
        due_minutes: None,
        batch: None,
        inputs: inputs.into(),
        rounds: RoundSpec {
            count: rounds,
            samples: 64,
            quorum,
            grace_seconds: 60,
            ..RoundSpec::default()
        },
        settings: serde_json::json!({
            "width": 32, "layers": 1, "heads": 2, "seq": 32, "batch": 8, "tied": true,
            "outer": { "learning_rate": 0.7, "momentum": 0.5 },
        }),
    }
}

fn put(member: &Client, folder: &Path, name: &str) -> Digest {
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

fn serve(folder: &str, listen: &str) -> (Process, String) {
    let mut hub = Process::khub(&[
        "serve",
        "--folder",
        folder,
        "--listen",
        listen,
        "--lose-after",
        "0.2",
    ]);
    let mut line = String::new();
    BufReader::new(hub.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .expect(&line);
    (hub, url.to_owned())
}

/// A process that doesn't outlive its test.
struct Process(Child);

impl Process {
    fn khub(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// SIGKILL: no process can prepare for it.
    fn kill(mut self) {
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
