//! Batch jobs from end to end, with real processes: on this machine, and on two real Slurm clusters.

use api::{Client, JobView};
use consortium::{Again, Batch, JobId, JobSpec, Label, Phase, RoundSpec};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CONSORTIUM: &str = r#"
organisations = [
  { id = "office", name = "Office", name_ko = "사업단", kind = "public", home = "domestic" },
  { id = "gaon", name = "Gaon University", name_ko = "가온대학교", kind = "university", home = "domestic" },
]
people = [
  { id = "office", organisation = "office", roles = ["office"] },
  { id = "minji", organisation = "gaon" },
]
appropriations = [{ year = 2021, won = 44_500_000_000 }]
sites = [
  { id = "alpha", owner = "gaon", tenure = "member", rated = 8_000_000_000_000, price = 9_000_000, gpus = 8, gpu = "a100" },
  { id = "beta", owner = "gaon", tenure = "member", rated = 8_000_000_000_000, price = 9_000_000, gpus = 8, gpu = "h100" },
  { id = "desk", owner = "gaon", tenure = "member", rated = 8_000_000_000_000, price = 9_000_000, gpus = 2, gpu = "rtx" },
]
projects = [{ id = "reviews", title = "Reviews", organisation = "gaon", programme = "language", members = ["minji"] }]
awards = [{ id = "reviews-2021", project = "reviews", won = 20_000_000, compute = "28800000000000000000000" }]
"#;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(100);

#[test]
fn commands_run_on_a_machine_of_their_own() {
    let world = World::start();
    let site = world.site("desk", &["--gpus", "2"], &[]);
    let job = world.submit(
        "rtx",
        "echo gpu $CUDA_VISIBLE_DEVICES of job $KHUB_JOB\necho result > outputs/out.txt\n",
        0,
    );
    let failing = world.submit("rtx", "echo try $KHUB_ATTEMPT\n[ $KHUB_ATTEMPT = 2 ]\n", 1);
    let view = world.ended(job);
    assert_eq!((&view.job.phase, view.job.outputs.len()), (&Phase::Done, 1));
    assert!(["gpu 0 of job job-1\n", "gpu 1 of job job-1\n"].contains(&&*world.log(job)));
    let view = world.ended(failing);
    assert_eq!(view.job.phase, Phase::Done);
    assert_eq!(view.job.past[0].why, Again::Failed("exit code 1".into()));
    assert_eq!(world.log(failing), "try 2\n");
    // A script finds the files that were given with it.
    let [script, words] = ["count.sh", "words.txt"].map(|name| world.folder.path().join(name));
    std::fs::write(&words, "a few words\n").unwrap();
    let asks = "#SBATCH --account=reviews --time=1 --gpus=rtx:1\n#KHUB --label=open\n";
    std::fs::write(&script, format!("#!/bin/sh\n{asks}cat inputs/said\n")).unwrap();
    let said = format!("said={}", words.display());
    let counted = world.run(&["submit", script.to_str().unwrap(), "--input", &said]);
    let counted: JobId = counted.trim().parse().unwrap();
    assert_eq!(world.ended(counted).job.phase, Phase::Done);
    assert_eq!(world.log(counted), "a few words\n");
    // Of what it did before it had to stop it finds what it wrote down.
    let counts =
        "n=$(cat checkpoint/n || echo 0)\necho $((n + 1)) > checkpoint/n\necho begun at $n\n[ $n = 2 ]\n";
    let counting = world.submit("rtx", counts, 2);
    assert_eq!(world.ended(counting).job.phase, Phase::Done);
    assert_eq!(
        (&*world.log(counting), world.starts(counting)),
        ("begun at 2\n", 3)
    );
    // A job goes on without its site's process, and the next one hears how it ended.
    let long = world.submit(
        "rtx",
        "echo begun\nuntil [ -e go ]; do sleep 0.05; done\necho over\n",
        0,
    );
    world.until(long, |_| world.log(long) == "begun\n");
    site.kill();
    let folder = world.folder.path().join("sites/desk/jobs").join(long.to_string());
    std::fs::write(folder.join("go"), "").unwrap();
    let _site = world.site("desk", &["--gpus", "2"], &[]);
    assert_eq!(world.ended(long).job.phase, Phase::Done);
    assert_eq!((&*world.log(long), world.starts(long)), ("begun\nover\n", 1));
    // One that is cancelled is stopped, and paid for until then.
    let endless = world.submit("rtx", "echo begun\nsleep 1000\n", 0);
    world.until(endless, |view| {
        view.spent.0 > 0 || world.log(endless) == "begun\n"
    });
    let began = Instant::now();
    let used = |view: &JobView| view.job.stays().any(|member| member.total().millis > 0);
    world.until(endless, used);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    world.member.cancel(endless).unwrap();
    assert_eq!(world.ended(endless).job.phase, Phase::Cancelled);
    store::Reader::open(&world.folder.path().join("hub"))
        .unwrap()
        .verify()
        .unwrap();
}

#[test]
fn a_job_leaves_nothing_behind_where_there_are_control_groups() {
    let world = World::start();
    let _site = world.site("desk", &["--gpus", "2"], &[]);
    let job = world.submit("rtx", "setsid sleep 1000 &\necho $! > outputs/left\n", 0);
    let view = world.ended(job);
    assert_eq!(view.job.phase, Phase::Done);
    let sites = world.member.sites().unwrap();
    let limits = sites.into_iter().find_map(|site| site.abilities).unwrap().limits;
    if limits.starts_with("none: ") {
        say(&format!("left out, limits are {limits}"));
        return;
    }
    assert!(limits.contains("control groups"), "{limits}");
    let left = world.member.fetch(&view.job.outputs[0]).unwrap();
    let left = format!("/proc/{}", std::io::read_to_string(left).unwrap().trim());
    let began = Instant::now();
    while Path::new(&left).exists() {
        assert!(began.elapsed() < PATIENCE, "{left} is still there");
        world.pass(20);
    }
}

#[test]
fn who_takes_too_much_memory_is_told_where_that_is_limited() {
    let world = World::start();
    // A hundredth of the machine.
    let _site = world.site("desk", &["--gpus", "100"], &[]);
    let job = world.submit("rtx", "true\n", 0);
    assert_eq!(world.ended(job).job.phase, Phase::Done);
    let sites = world.member.sites().unwrap();
    let limits = sites.into_iter().find_map(|site| site.abilities).unwrap().limits;
    if !limits.starts_with("memory") {
        return say(&format!("left out, limits are {limits}"));
    }
    let job = world.submit("rtx", "tail /dev/zero\n", 0);
    let Phase::Failed { reason } = world.ended(job).job.phase else {
        panic!("it had all the memory that it wanted");
    };
    assert!(
        reason.contains("out of memory: its part of this machine is"),
        "{reason}"
    );
}

#[test]
fn a_job_runs_in_its_image() {
    let world = World::start();
    let Some(image) = image(world.folder.path()) else {
        return;
    };
    let site = world.site("desk", &["--gpus", "2", "--containers", "none"], &[]);
    let job = world.submit_in(&image, "rtx");
    let said = world.run(&["explain", &job.to_string()]);
    assert!(said.contains("it runs no containers"), "{said}");
    drop(site);
    let _site = world.site("desk", &["--gpus", "2"], &[]);
    world.check_within(job);
}

/// An image with nothing but Debian's busybox-static in it: a folder for Apptainer, a file for Enroot. None where there
/// is neither.
fn image(folder: &Path) -> Option<PathBuf> {
    let found = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let with_enroot = !found("apptainer") && found("enroot") && found("mksquashfs");
    if !(found("apptainer") || with_enroot) || !Path::new("/bin/busybox").exists() {
        say("left out: it takes Apptainer, or Enroot and squashfs-tools, and Debian's busybox-static");
        return None;
    }
    let image = folder.join("image");
    for folder in [
        "bin", "etc", "proc", "sys", "dev", "run", "tmp", "root", "home", "var/tmp",
    ] {
        std::fs::create_dir_all(image.join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", image.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", image.join("bin/sh")).unwrap();
    for (file, text) in [("issue", "within\n"), ("passwd", ""), ("group", "")] {
        std::fs::write(image.join("etc").join(file), text).unwrap();
    }
    if !with_enroot {
        return Some(image);
    }
    let packed = folder.join("image.sqsh");
    let packing = Command::new("mksquashfs").arg(&image).arg(&packed).output();
    assert!(packing.unwrap().status.success());
    Some(packed)
}

#[test]
fn who_holds_gpus_idle_is_told() {
    let world = World::start();
    // Beside other tests a loop may get no more than a part of a processor.
    let terms = "watch set --busy 15 --sample 2 --report 0 --warn 0 --reduce 0 --by 10";
    world.run_as("office", &terms.split(' ').collect::<Vec<_>>());
    let _site = world.site("desk", &["--gpus", "2"], &[]);
    // They also end when the test has failed and its folder is gone.
    let scripts =
        ["sleep 0.5", ":"].map(|wait| format!("until [ -e go ] || ! [ -e script ]; do {wait}; done\n"));
    let [idle, busy] = scripts.map(|script| world.submit("rtx", &script, 0));
    let watched = |view: &JobView| {
        view.job
            .members
            .values()
            .next()
            .map(|member| member.watch.clone())
    };
    let view = world.until(idle, |view| {
        watched(view).is_some_and(|watch| watch.taken.is_some())
    });
    let taken = watched(&view).unwrap().taken.unwrap();
    assert_eq!(taken.award.as_str(), "reviews-2021");
    let said = world.run(&["explain", &idle.to_string()]);
    assert!(said.contains("award reviews-2021 was reduced"), "{said}");
    let said = world.run(&["top"]);
    assert!(said.contains("award reduced"), "{said}");
    let view = world.until(busy, |view| {
        watched(view).is_some_and(|watch| watch.percent.is_some())
    });
    let watch = watched(&view).unwrap();
    assert!(watch.percent >= Some(15) && watch.notice.is_none(), "{watch:?}");
    world.run_as(
        "office",
        &["watch", "give-back", &idle.to_string(), "--ground", "a test"],
    );
    let hub = world.folder.path().join("hub");
    let report = world.run(&[
        "report",
        "--idle",
        "--format",
        "csv",
        "--folder",
        hub.to_str().unwrap(),
    ]);
    let lines: Vec<&str> = report.lines().skip(1).collect();
    let expected = ["reported", "warned", "award reduced", "given back"];
    assert_eq!(lines.len(), expected.len(), "{report}");
    for (line, what) in lines.iter().zip(expected) {
        assert!(
            line.contains(&format!("{idle},reviews,gaon,")) && line.contains(what),
            "{line}"
        );
    }
    world.run_as("office", &["watch", "off"]);
    assert_eq!(world.run(&["watch", "show"]), "nobody is watched\n");
    for job in [idle, busy] {
        let folder = world.folder.path().join("sites/desk/jobs").join(job.to_string());
        std::fs::write(folder.join("go"), "").unwrap();
        assert_eq!(world.ended(job).job.phase, Phase::Done);
    }
}

/// Alpha is asked through Slurm's commands, beta through slurmrestd.
#[test]
fn commands_run_on_slurm_as_the_people_who_asked_for_them() {
    let Some(cluster) = Cluster::start() else { return };
    let world = World::start();
    let users = world.folder.path().join("users.toml");
    std::fs::write(&users, "minji = 'khub-minji'").unwrap();
    let users = users.to_str().unwrap();
    let by_commands = ["--slurm", "--users", users];
    let alpha = world.site("alpha", &by_commands, &cluster.environment("alpha"));
    let rest = cluster.rest("beta");
    let beta = cluster.environment("beta");
    let _beta = world.site(
        "beta",
        &["--slurm", "--slurm-rest", &rest, "--users", users],
        &beta,
    );
    let script = "id -un\necho gpus $CUDA_VISIBLE_DEVICES\nsleep 1\necho result > outputs/out.txt\n";
    for gpu in ["a100", "h100"] {
        let job = world.submit(gpu, script, 0);
        let refused = world.submit(gpu, "exit 3\n", 0);
        let view = world.ended(job);
        assert_eq!(
            (&view.job.phase, view.job.outputs.len()),
            (&Phase::Done, 1),
            "{gpu}"
        );
        assert_eq!(world.log(job), "khub-minji\ngpus 0\n", "{gpu}");
        let Phase::Failed { reason } = world.ended(refused).job.phase else {
            panic!("it exits with 3")
        };
        assert!(reason.ends_with("exit code 3"), "{reason}");
        let site = if gpu == "a100" { "alpha" } else { "beta" };
        for job in [job, refused] {
            assert_eq!(world.seconds(job), cluster.seconds(site, job), "{gpu} {job}");
        }
    }
    if let Some(image) = image(world.folder.path()) {
        for gpu in ["a100", "h100"] {
            world.check_within(world.submit_in(&image, gpu));
        }
    }
    // Nobody can spend the award past khub, whatever happened while no site was there.
    alpha.kill();
    cluster.manage(&[
        "-i",
        "modify",
        "account",
        "khub-reviews-2021",
        "set",
        "GrpSubmitJobs=5",
    ]);
    let _alpha = world.site("alpha", &by_commands, &cluster.environment("alpha"));
    let began = Instant::now();
    let asked = [
        "-n",
        "-P",
        "show",
        "assoc",
        "cluster=alpha",
        "account=khub-reviews-2021",
        "user=",
        "format=grpsubmit",
    ];
    while cluster.manage(&asked).trim() != "0" {
        assert!(
            began.elapsed() < PATIENCE,
            "the account has {:?}",
            cluster.manage(&asked)
        );
    }
}

/// No job is lost, and none runs twice without a mark; what is metered is what Slurm's accounting says.
#[test]
#[ignore = "takes two minutes and more; `cargo nextest run --workspace --run-ignored only faults`"]
fn faults_of_real_clusters_lose_nothing() {
    let Some(cluster) = Cluster::start() else { return };
    let mut world = World::start();
    let users = world.folder.path().join("users.toml");
    std::fs::write(&users, "minji = 'khub-minji'").unwrap();
    let users = users.to_str().unwrap().to_owned();
    let (alpha, beta) = (cluster.environment("alpha"), cluster.environment("beta"));
    let commands = ["--slurm", "--users", &users];
    let rest = cluster.rest("beta");
    let restd = ["--slurm", "--slurm-rest", &rest, "--users", &users];
    let script = |n: u32| format!("# {n}\n{COUNTS}");

    say("the site's process is killed at every step");
    let (first, second) = (
        world.submit("a100", &script(0), 0),
        world.submit("h100", &script(0), 0),
    );
    for turn in 0..16_u64 {
        let sites = (
            world.site("alpha", &commands, &alpha),
            world.site("beta", &restd, &beta),
        );
        world.pass(150 + 130 * turn);
        drop(sites);
    }
    let _alpha = world.site("alpha", &commands, &alpha);
    let _beta = world.site("beta", &restd, &beta);
    for (site, job) in [("alpha", first), ("beta", second)] {
        world.check(&cluster, site, job, 1);
    }

    say("a node is lost");
    let job = world.submit("a100", &script(1), 0);
    let node = cluster.node_of("alpha", job);
    assert!(cluster.dev(&["crash", &node]));
    let view = world.check(&cluster, "alpha", job, 2);
    assert!(
        matches!(view.job.past[0].why, Again::Lost(_)),
        "{:?}",
        view.job.past
    );
    assert!(cluster.dev(&["daemon", "slurmd", &node]));

    say("slurmctld is killed, and slurmrestd is down");
    let jobs = [
        ("alpha", world.submit("a100", &script(2), 0)),
        ("beta", world.submit("h100", &script(2), 0)),
    ];
    for (site, job) in jobs {
        cluster.node_of(site, job);
    }
    cluster.kill("alpha", "slurmctld");
    cluster.kill("beta", "slurmrestd");
    world.pass(3_000);
    let late = world.submit("h100", &script(3), 0);
    world.pass(3_000);
    assert!(cluster.dev(&["daemon", "slurmctld", "alpha"]));
    assert!(cluster.dev(&["daemon", "slurmrestd", "beta"]));
    // What a killed slurmctld had not written down it starts again, or has lost: then the hub runs the job once more.
    let starts = world.ended(jobs[0].1).job.stays().count();
    cluster.end_runaways("alpha");
    world.check(&cluster, "alpha", jobs[0].1, starts);
    world.check(&cluster, "beta", jobs[1].1, 1);
    world.check(&cluster, "beta", late, 1);

    say("slurmctld comes back without a job that runs");
    let state = cluster.0.path().join("slurm/alpha/state/job_state");
    let before = std::fs::read(&state).unwrap();
    let job = world.submit("a100", &script(5), 0);
    cluster.node_of("alpha", job);
    // It tells the accounting of a start a little later.
    while cluster.counted("alpha", job).is_empty() {
        world.pass(100);
    }
    cluster.kill("alpha", "slurmctld");
    std::fs::write(&state, before).unwrap();
    assert!(cluster.dev(&["daemon", "slurmctld", "alpha"]));
    let view = world.ended(job);
    let lost = Again::Lost("the scheduler doesn't know it any more".into());
    assert_eq!(view.job.past[0].why, lost);
    assert!(cluster.seconds("alpha", job) > 60, "Slurm counts on");
    cluster.end_runaways("alpha");
    world.check(&cluster, "alpha", job, 2);

    say("the hub is away for a minute");
    let jobs = [
        ("alpha", world.submit("a100", &script(4), 0)),
        ("beta", world.submit("h100", &script(4), 0)),
    ];
    for (site, job) in jobs {
        cluster.node_of(site, job);
    }
    world.without_hub(60_000);
    for (site, job) in jobs {
        world.check(&cluster, site, job, 1);
    }
    store::Reader::open(&world.folder.path().join("hub"))
        .unwrap()
        .verify()
        .unwrap();
}

/// Used time is what Slurm says, and a site's clock has no part in it.
#[test]
#[ignore = "takes a minute; `cargo nextest run --workspace --run-ignored only faults`"]
fn faults_of_a_clock_change_nothing() {
    let Some(cluster) = Cluster::start() else { return };
    let world = World::start();
    let users = world.folder.path().join("users.toml");
    std::fs::write(&users, "minji = 'khub-minji'").unwrap();
    for ahead in ["+7200", "-7200"] {
        let mut environment = cluster.environment("alpha").to_vec();
        let wrong = [
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1"),
            ("FAKETIME", ahead),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        environment.extend(wrong.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let users = users.to_str().unwrap();
        let _alpha = world.site("alpha", &["--slurm", "--users", users], &environment);
        let job = world.submit("a100", &format!("# {ahead}\n{COUNTS}"), 0);
        world.check(&cluster, "alpha", job, 1);
    }
}

/// Takes eight seconds, and writes what [`World::check`] expects.
const COUNTS: &str = "i=0; while [ $i -lt 80 ]; do echo $i; i=$((i+1)); sleep 0.1; done\n";

/// What `sstat` tells of jobs on a real node.
#[test]
#[ignore = "takes a minute; `cargo nextest run --workspace --run-ignored only how_busy`"]
fn how_busy_jobs_are_is_read_from_slurm() {
    let Some(cluster) = Cluster::start() else { return };
    let world = World::start();
    let users = world.folder.path().join("users.toml");
    std::fs::write(&users, "minji = 'khub-minji'").unwrap();
    let terms = "watch set --busy 50 --sample 10 --report 0 --warn 600 --reduce 600 --by 10";
    world.run_as("office", &terms.split(' ').collect::<Vec<_>>());
    let slurm = ["--slurm", "--users", users.to_str().unwrap()];
    let _alpha = world.site("alpha", &slurm, &cluster.environment("alpha"));
    let [idle, busy] = ["sleep 80\n", "timeout 80 sh -c 'while :; do :; done' || true\n"]
        .map(|script| world.submit("a100", script, 0));
    let percent = |job| {
        let watched = |view: &JobView| view.job.members.values().find_map(|member| member.watch.percent);
        watched(&world.until(job, |view| watched(view).is_some())).unwrap()
    };
    let (idle, busy) = (percent(idle), percent(busy));
    assert!(idle < 10 && busy > 50, "{idle} % and {busy} %");
}

#[allow(clippy::print_stdout, reason = "it takes long")]
fn say(what: &str) {
    println!("{what}");
}

// ---- the world of a test ---------------------------------------------------------------------------------------

/// One that the people of a cluster get at, too.
fn open_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    folder
}

struct World {
    folder: TempDir,
    url: String,
    member: Client,
    hub: Option<Process>,
}

/// Killed when it is let go.
struct Process(Child);

impl Process {
    fn khub(args: &[&str], environment: &[(String, String)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_khub"));
        command.args(args).envs(environment.iter().cloned());
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn();
        Self(child.expect("khub starts"))
    }

    /// As by `kill -9`.
    fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl World {
    fn start() -> Self {
        let folder = open_folder();
        let (file, hub) = (folder.path().join("consortium.toml"), folder.path().join("hub"));
        std::fs::write(&file, CONSORTIUM).unwrap();
        let (file, hub) = (file.to_str().unwrap(), hub.to_str().unwrap());
        assert!(
            Process::khub(&["found", file, "--folder", hub], &[])
                .0
                .wait()
                .unwrap()
                .success()
        );
        let mut process = Process::khub(&["serve", "--folder", hub, "--listen", "127.0.0.1:0"], &[]);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .expect(&line)
            .to_owned();
        let token = std::fs::read_to_string(Path::new(hub).join("credentials/minji")).unwrap();
        let member = Client::new(&url, token.trim()).unwrap();
        Self {
            folder,
            url,
            member,
            hub: Some(process),
        }
    }

    fn site(&self, name: &str, more: &[&str], environment: &[(String, String)]) -> Process {
        let credential = self.folder.path().join("hub/credentials").join(name);
        let home = self.folder.path().join("sites").join(name);
        let (credential, home) = (credential.to_str().unwrap(), home.to_str().unwrap());
        let args = [
            "site",
            "--with-parent",
            "--hub",
            &self.url,
            "--credential",
            credential,
            "--folder",
            home,
        ];
        Process::khub(&[&args[..], more].concat(), environment)
    }

    /// What khub prints for the member.
    fn run(&self, args: &[&str]) -> String {
        self.run_as("minji", args)
    }

    fn run_as(&self, name: &str, args: &[&str]) -> String {
        let hub = self.folder.path().join("hub");
        let token = std::fs::read_to_string(hub.join("credentials").join(name)).unwrap();
        let environment = [("KHUB_HUB", self.url.as_str()), ("KHUB_TOKEN", token.trim())];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut process = Process::khub(args, &environment);
        let mut text = String::new();
        let mut out = process.0.stdout.take().unwrap();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        text
    }

    /// A job in an image, for one GPU of that sort.
    fn submit_in(&self, image: &Path, gpu: &str) -> JobId {
        let script = self.folder.path().join(format!("in-{gpu}.sh"));
        let asks = format!("#SBATCH --account=reviews --time=1 --gpus={gpu}:1\n#KHUB --label=open\n");
        let text =
            "busybox cat /etc/issue\necho $KHUB_JOB on gpu $CUDA_VISIBLE_DEVICES\necho made > outputs/made\n";
        std::fs::write(&script, format!("#!/bin/sh\n{asks}{text}")).unwrap();
        let (script, image) = (script.to_str().unwrap(), image.to_str().unwrap());
        self.run(&["submit", script, "--image", image])
            .trim()
            .parse()
            .unwrap()
    }

    fn check_within(&self, job: JobId) {
        let view = self.ended(job);
        let log = self.log(job);
        assert_eq!(
            (&view.job.phase, view.job.outputs.len()),
            (&Phase::Done, 1),
            "{log}"
        );
        assert_eq!(log, format!("within\n{job} on gpu 0\n"));
    }

    /// A job for one GPU of that sort.
    fn submit(&self, gpu: &str, script: &str, retries: u32) -> JobId {
        let spec = JobSpec {
            name: "a test".into(),
            project: "reviews".parse().unwrap(),
            program: String::new(),
            label: Label::Open,
            sites: 1,
            wall_minutes: 5,
            gpus: Some(1),
            gpu: Some(gpu.into()),
            due_minutes: None,
            inputs: [].into(),
            rounds: RoundSpec::default(),
            settings: serde_json::Value::Null,
            batch: Some(Box::new(Batch {
                script: format!("#!/bin/sh\n{script}"),
                retries,
                ..Batch::default()
            })),
        };
        let key = consortium::Digest::of(format!("{gpu} {script}").as_bytes())
            .hex()
            .to_string();
        self.member.submit(&spec, &key).unwrap()
    }

    fn until(&self, job: JobId, wanted: impl Fn(&JobView) -> bool) -> JobView {
        let began = Instant::now();
        let mut view = self.member.job(job).unwrap();
        while !wanted(&view) {
            assert!(began.elapsed() < PATIENCE, "{:#?}", view.job);
            view = self
                .member
                .job_after(job, view.seq, Duration::from_millis(200))
                .unwrap();
        }
        view
    }

    fn ended(&self, job: JobId) -> JobView {
        self.until(job, |view| !view.job.is_active())
    }

    fn log(&self, job: JobId) -> String {
        self.member.log(job, 0, 0).unwrap().text
    }

    /// Lets time pass, in which the test has nothing to wait for.
    fn pass(&self, millis: u64) {
        std::thread::park_timeout(Duration::from_millis(millis));
    }

    fn without_hub(&mut self, millis: u64) {
        drop(self.hub.take());
        self.pass(millis);
        let port = self.url.strip_prefix("http://").unwrap();
        let hub = self.folder.path().join("hub");
        let mut process = Process::khub(
            &["serve", "--folder", hub.to_str().unwrap(), "--listen", port],
            &[],
        );
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        self.hub = Some(process);
    }

    /// It is done after so many starts, wrote everything once, and was metered as Slurm says.
    fn check(&self, cluster: &Cluster, site: &str, job: JobId, starts: usize) -> JobView {
        let view = self.ended(job);
        assert_eq!(
            (&view.job.phase, self.starts(job)),
            (&Phase::Done, starts),
            "{:?}",
            view.job.past
        );
        let log: String = (0..80).map(|i| format!("{i}\n")).collect();
        assert_eq!(self.log(job), log, "{job}");
        assert_eq!(self.seconds(job), cluster.seconds(site, job), "{job}");
        view
    }

    fn starts(&self, job: JobId) -> usize {
        self.member.job(job).unwrap().job.stays().count()
    }

    /// What its meters say.
    fn seconds(&self, job: JobId) -> u64 {
        let job = self.member.job(job).unwrap().job;
        job.stays().map(|member| member.total().millis / 1_000).sum()
    }
}

/// Two real Slurm clusters, for as long as the test runs.
struct Cluster(TempDir);

impl Cluster {
    /// None on a machine that has no Slurm, or where this may not start it; but CI has to have it.
    #[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn start() -> Option<Self> {
        let has = |program: &str| {
            Command::new(program)
                .arg("-V")
                .stdout(Stdio::null())
                .status()
                .is_ok()
        };
        let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
        if !has("slurmctld") || !is_root {
            let why = "skipped: it takes root and Slurm, which `dev/slurm-cluster install` brings";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("{why}");
            return None;
        }
        let cluster = Self(open_folder());
        assert!(cluster.dev(&["start"]), "the clusters don't start");
        Some(cluster)
    }

    fn dev(&self, args: &[&str]) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dev/slurm-cluster");
        let mut command = Command::new(script);
        command.args(args).env("KHUB_SLURM", self.0.path().join("slurm"));
        command.stdout(Stdio::null()).status().unwrap().success()
    }

    fn environment(&self, site: &str) -> [(String, String); 1] {
        let file = self.0.path().join("slurm").join(site).join("etc/slurm.conf");
        [("SLURM_CONF".to_owned(), file.display().to_string())]
    }

    fn rest(&self, site: &str) -> String {
        let file = self.0.path().join("slurm").join(site).join("env");
        let text = std::fs::read_to_string(file).unwrap();
        let url = text
            .lines()
            .find_map(|line| line.strip_prefix("export KHUB_SLURM_REST="));
        url.unwrap().to_owned()
    }

    /// What sacctmgr answers.
    fn manage(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("sacctmgr");
        command.args(arguments).envs(self.environment("alpha"));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    /// Where the job runs, as soon as it does.
    fn node_of(&self, site: &str, job: JobId) -> String {
        let began = Instant::now();
        let name = format!("--name=khub-{site}-{job}.1");
        loop {
            let mut command = Command::new("squeue");
            command
                .args(["-h", "-t", "R", "-o", "%N", &name])
                .envs(self.environment(site));
            let node = String::from_utf8(command.output().unwrap().stdout).unwrap();
            if !node.trim().is_empty() {
                return node.trim().to_owned();
            }
            assert!(began.elapsed() < PATIENCE, "{job} doesn't start");
        }
    }

    fn kill(&self, site: &str, daemon: &str) {
        let file = self
            .0
            .path()
            .join("slurm")
            .join(site)
            .join("run")
            .join(format!("{daemon}.pid"));
        let pid = std::fs::read_to_string(file).unwrap();
        assert!(
            Command::new("kill")
                .args(["-9", pid.trim()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// As the site's operator ends records of jobs that slurmctld has lost.
    fn end_runaways(&self, site: &str) {
        let found = self.manage(&["-i", "show", "runawayjobs", &format!("cluster={site}")]);
        assert!(!found.is_empty(), "sacctmgr says something in any case");
    }

    fn seconds(&self, site: &str, job: JobId) -> u64 {
        self.counted(site, job).iter().sum()
    }

    /// The seconds of each start, as Slurm's accounting says.
    fn counted(&self, site: &str, job: JobId) -> Vec<u64> {
        let names: Vec<String> = (1..9)
            .map(|attempt| format!("khub-{site}-{job}.{attempt}"))
            .collect();
        let name = format!("--name={}", names.join(","));
        let mut command = Command::new("sacct");
        command.args([
            "-a",
            "-n",
            "-P",
            "-X",
            "-D",
            "-S",
            "now-1days",
            "-o",
            "ElapsedRaw",
            &name,
        ]);
        let output = command.envs(self.environment(site)).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.trim().parse().unwrap()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.dev(&["stop"]);
    }
}
