//! Batch jobs on Slurm: through slurmrestd where the site has it, and through Slurm's commands. Jobs run as the people
//! who asked for them, on accounts of their awards.
//!
//! Whichever way, a job is looked for by its name, both at the controller and in the accounting: the one knows it
//! first, the other for ever. What it used is what the accounting says, all its starts together.

use super::gauge::{Busy, Look};
use super::rest::Rest;
use super::task::{Task, User};
use super::{Scheduler, Seen, Trouble};
use consortium::Exit;
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds for a command of Slurm's, which waits for a controller that is away.
const PATIENCE: &str = "20";
/// How often running jobs are asked how busy they are: `sstat` asks their nodes.
const GAUGE_EVERY: Duration = Duration::from_secs(20);
/// How young, in seconds, a start is that slurmctld, killed now, may come back without: it writes its state within
/// five seconds of a change, where the machine isn't busy. What Slurm may come to count as nothing isn't metered yet.
const FORGETTABLE: u64 = 30;
/// The record of a start that slurmctld has lost counts on for ever.
const RUNAWAY: &str = "slurmctld has lost it, and Slurm's accounting goes on counting it; \
                       `sacctmgr show runawayjobs` ends such records, with nothing used";
/// What no waiting mends, in Slurm's words.
const HOPELESS: [&str; 8] = [
    "Invalid account",
    "Requested node configuration is not available",
    "Invalid generic resource",
    "Invalid Trackable RESource",
    "Requested time limit is invalid",
    "invalid partition",
    "Invalid qos",
    "Node count specification invalid",
];

/// The state of a job that ended as cancelled, and that nobody has cancelled.
pub(super) const DROPPED: &str = "DROPPED";
/// Of one that root has cancelled: Slurm itself, of a controller that came back without its memory and gave the job's
/// number to another, or the site's administrator; it doesn't tell which.
pub(super) const ROOTED_OUT: &str = "ROOTED_OUT";

/// How a site's Slurm is reached.
#[derive(Debug, Clone, Default)]
pub struct SlurmConfig {
    /// The address of slurmrestd; none uses the commands alone.
    pub rest: Option<String>,
    /// The partition of khub's jobs, if not the default one.
    pub partition: Option<String>,
}

/// What Slurm says of one start of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    /// As in `NODE_FAIL`.
    pub(super) state: String,
    pub(super) seconds: u64,
    /// It has an end.
    pub(super) is_over: bool,
    pub(super) code: u32,
}

/// What both ways of reaching Slurm can do.
pub(super) trait Way: Send {
    /// The names at the controller, with their state.
    fn current(&mut self, names: &[&str]) -> Result<BTreeMap<String, String>, Trouble>;
    /// The starts in the accounting, in their order.
    fn accounted(&mut self, names: &[&str]) -> Result<Vec<Account>, Trouble>;
    fn submit(&mut self, task: &Task, user: &User) -> Result<(), Trouble>;
    fn cancel(&mut self, task: &Task) -> Result<(), Trouble>;
}

pub(super) struct Slurm {
    way: Box<dyn Way>,
    cluster: Option<String>,
    /// Accounts, and how many jobs each may have.
    accounts: BTreeMap<String, usize>,
    /// Whether those of an earlier process are among them.
    remembers: bool,
    /// Users of accounts.
    users: BTreeSet<(String, String)>,
    /// When nodes were asked how busy jobs are, and the two last answers.
    gauged: Option<Instant>,
    looks: BTreeMap<String, (Option<Look>, Look)>,
}

impl Slurm {
    pub(super) fn new(config: SlurmConfig) -> Self {
        let way: Box<dyn Way> = match &config.rest {
            Some(url) => Box::new(Rest::new(url, config.partition)),
            None => Box::new(Commands {
                partition: config.partition,
            }),
        };
        Self {
            way,
            cluster: None,
            accounts: BTreeMap::new(),
            remembers: false,
            users: BTreeSet::new(),
            gauged: None,
            looks: BTreeMap::new(),
        }
    }

    /// The account of the job's award, and its user's place in it. Accounts are made by Slurm's command in any case:
    /// slurmrestd 0.0.38 refuses associations with `Unspecified error`.
    fn entitle(&mut self, task: &Task, user: &User) -> Result<(), Trouble> {
        let place = (task.account.clone(), user.name.clone());
        if self.users.contains(&place) {
            return Ok(());
        }
        let cluster = self.cluster()?;
        let (account, name) = (&task.account, &user.name);
        let has = |fields: &[&str]| {
            let mut arguments = vec!["-n", "-P", "show", "assoc", "format=account"];
            arguments.extend(fields);
            tell("sacctmgr", &arguments).map(|found| !found.trim().is_empty())
        };
        let (on, of, by) = (
            format!("cluster={cluster}"),
            format!("account={account}"),
            format!("user={name}"),
        );
        if !has(&[&on, &of])? {
            let whose = format!("organization={}", task.organisation);
            let what = [
                "-i",
                "add",
                "account",
                account,
                &on,
                "description=khub",
                &whose,
                "parent=root",
            ];
            tell("sacctmgr", &what)?;
        }
        if !has(&[&on, &of, &by])? {
            tell("sacctmgr", &["-i", "add", "user", name, &of, &on])?;
        }
        self.users.insert(place);
        Ok(())
    }

    /// Asks the nodes for all running jobs at once. Who can't be asked is not watched.
    fn gauge(&mut self, names: &[&str]) {
        if names.is_empty() || self.gauged.is_some_and(|at| at.elapsed() < GAUGE_EVERY) {
            return;
        }
        self.gauged = Some(Instant::now());
        let of_names = format!("--name={}", names.join(","));
        let running =
            tell("squeue", &["-h", "-a", "-t", "running", &of_names, "-o", "%A|%j"]).unwrap_or_default();
        let numbers: BTreeMap<&str, &str> = running.lines().filter_map(|line| line.split_once('|')).collect();
        if numbers.is_empty() {
            return;
        }
        let jobs: Vec<&str> = numbers.keys().copied().collect();
        let jobs = jobs.join(",");
        let steps = tell(
            "sstat",
            &["-a", "-n", "-P", "-j", &jobs, "-o", "JobID,TRESUsageInTot"],
        )
        .unwrap_or_default();
        let at = Instant::now();
        for (number, used) in used(&steps) {
            if let Some(name) = numbers.get(number) {
                let look = Look {
                    at,
                    cpu: used.cpu,
                    gpus: used.gpus,
                };
                let before = self.looks.get(*name).map(|(_, last)| *last);
                self.looks.insert((*name).to_owned(), (before, look));
            }
        }
    }

    fn cluster(&mut self) -> Result<String, Trouble> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.clone());
        }
        let config = tell("scontrol", &["show", "config"])?;
        let line = config.lines().find(|line| line.starts_with("ClusterName"));
        let name = line
            .and_then(|line| line.split_once('='))
            .map(|(_, name)| name.trim().to_owned());
        let name = name.ok_or_else(|| Trouble::Later("scontrol doesn't say which cluster this is".into()))?;
        Ok(self.cluster.insert(name).clone())
    }

    /// The accounts that an earlier process has made, with what they may have.
    fn remember(&mut self) -> Result<(), Trouble> {
        if self.remembers {
            return Ok(());
        }
        let on = format!("cluster={}", self.cluster()?);
        let fields = "format=account,user,grpsubmit";
        let answer = tell("sacctmgr", &["-n", "-P", "show", "assoc", &on, fields])?;
        for (account, jobs) in limits(&answer) {
            self.accounts.entry(account.to_owned()).or_insert(jobs);
        }
        self.remembers = true;
        Ok(())
    }

    /// An account may have as many jobs as its award has here, and none that khub doesn't know of.
    fn limit(&mut self, account: &str, jobs: usize) -> Result<(), Trouble> {
        if self.accounts.get(account) == Some(&jobs) {
            return Ok(());
        }
        let on = format!("cluster={}", self.cluster()?);
        let most = format!("GrpSubmitJobs={jobs}");
        tell(
            "sacctmgr",
            &["-i", "modify", "account", account, "where", &on, "set", &most],
        )?;
        self.accounts.insert(account.to_owned(), jobs);
        Ok(())
    }
}

impl Scheduler for Slurm {
    fn look(&mut self, tasks: &[&Task]) -> Result<BTreeMap<String, Seen>, Trouble> {
        if tasks.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names: Vec<&str> = tasks.iter().map(|task| task.name.as_str()).collect();
        self.gauge(&names);
        // First the controller: what it forgets meanwhile is in the accounting.
        let current = self.way.current(&names)?;
        let accounted = self.way.accounted(&names)?;
        let seen = tasks.iter().filter_map(|task| {
            let starts = accounted.iter().filter(|start| start.name == task.name);
            let again = task.file("again").exists();
            let seen = judge(
                current.get(&task.name).map(String::as_str),
                &starts.collect::<Vec<_>>(),
                again,
            )?;
            Some((task.name.clone(), refine(seen, task)))
        });
        Ok(seen.collect())
    }

    fn submit(&mut self, task: &Task, user: &User) -> Result<(), Trouble> {
        self.entitle(task, user)?;
        let jobs = self.accounts.get(&task.account).copied().unwrap_or(0);
        self.limit(&task.account, jobs.max(1))?;
        self.way.submit(task, user)
    }

    fn busy(&mut self, task: &Task) -> Option<Busy> {
        // An answer counts once.
        let (before, last) = self.looks.get_mut(&task.name)?;
        let gpus = task.gpus.unwrap_or(1);
        let mut now = *last;
        now.gpus = now.gpus.map(|sum| (sum / gpus.max(1)).min(100));
        Some(now.since(&before.take()?, gpus))
    }

    fn cancel(&mut self, task: &Task) -> Result<(), Trouble> {
        self.way.cancel(task)
    }

    fn limits(&self) -> String {
        "as Slurm has it".to_owned()
    }

    fn settle(&mut self, tasks: &[&Task]) -> Result<(), Trouble> {
        self.looks
            .retain(|name, _| tasks.iter().any(|task| task.name == *name));
        self.remember()?;
        let mut wanted: BTreeMap<String, usize> =
            self.accounts.keys().map(|known| (known.clone(), 0)).collect();
        for task in tasks {
            *wanted.entry(task.account.clone()).or_insert(0) += 1;
        }
        for (account, jobs) in wanted {
            // One that isn't there yet is made with its first job.
            if self.accounts.contains_key(&account) {
                self.limit(&account, jobs)?;
            }
        }
        Ok(())
    }
}

/// khub's accounts in lines as `khub-reviews-2021||2`, with how many jobs they may have; their users have lines of their own.
fn limits(answer: &str) -> impl Iterator<Item = (&str, usize)> {
    answer.lines().filter_map(|line| {
        let mut fields = line.split('|');
        let (account, user, jobs) = (fields.next()?, fields.next()?, fields.next()?);
        let is_ours = account.starts_with("khub-") && user.is_empty();
        is_ours.then(|| (account, jobs.parse().unwrap_or(usize::MAX)))
    })
}

/// How a job is, by what the controller and the accounting say. Only the accounting ends it.
fn judge(current: Option<&str>, starts: &[&Account], again: bool) -> Option<Seen> {
    let sum = |counts: fn(&Account) -> bool| {
        let counted = starts.iter().filter(|start| counts(start));
        counted.map(|start| start.seconds).sum::<u64>() * 1_000
    };
    let millis = sum(|_| true);
    let running = Seen::Running {
        millis: sum(|start| start.is_over || start.seconds >= FORGETTABLE),
    };
    let is_active = |state: &str| {
        matches!(
            state,
            "RUNNING" | "COMPLETING" | "SUSPENDED" | "STAGE_OUT" | "STOPPED" | "SIGNALING" | "CONFIGURING"
        )
    };
    let waits = |state: &str| {
        matches!(
            state,
            "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "SPECIAL_EXIT"
        )
    };
    match (current, starts.last()) {
        (None, None) => None,
        (Some(state), _) if is_active(state) => Some(running),
        (Some(state), _) if waits(state) => Some(Seen::Waiting),
        (_, Some(last)) if last.is_over => Some(Seen::Ended {
            exit: exit(&last.state, last.code, again),
            millis,
        }),
        // The controller has done with it, and the accounting doesn't know yet.
        (Some(_), _) => Some(running),
        (None, Some(_)) => Some(Seen::Forgotten(RUNAWAY)),
    }
}

fn exit(state: &str, code: u32, again: bool) -> Exit {
    match state {
        _ if again => Exit::Lost("Slurm started it a second time".into()),
        "COMPLETED" => Exit::Done,
        "TIMEOUT" | "DEADLINE" => Exit::TimedOut,
        "CANCELLED" | "REVOKED" => Exit::Stopped,
        "NODE_FAIL" | "BOOT_FAIL" => Exit::Lost("its node failed".into()),
        DROPPED => Exit::Lost("Slurm dropped it".into()),
        ROOTED_OUT => Exit::Lost("Slurm, or root at the site, cancelled it".into()),
        "PREEMPTED" => Exit::Lost("Slurm stopped it for another".into()),
        "OUT_OF_MEMORY" => Exit::Failed("out of memory".into()),
        _ => Exit::Failed(format!("exit code {code}")),
    }
}

/// The command's own code, which `run.sh` has noted; what slurmdbd's REST says of it is always 0.
fn refine(seen: Seen, task: &Task) -> Seen {
    match (seen, task.noted("exit").as_deref()) {
        (
            Seen::Ended {
                exit: Exit::Failed(_),
                millis,
            },
            Some([code, ..]),
        ) => Seen::Ended {
            exit: Exit::Failed(format!("exit code {code}")),
            millis,
        },
        (seen, _) => seen,
    }
}

/// What `sstat` says of a job's steps together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Used {
    /// Processor time, ms.
    cpu: u64,
    /// Percent of a GPU, all GPUs together, where Slurm gathers that (`gres/gpuutil`).
    gpus: Option<u32>,
}

/// Lines as `7.batch|cpu=00:01:30,mem=2M,gres/gpuutil=85`, by job.
fn used(answer: &str) -> BTreeMap<&str, Used> {
    let mut jobs: BTreeMap<&str, Used> = BTreeMap::new();
    for (step, usage) in answer.lines().filter_map(|line| line.split_once('|')) {
        let job = step.split_once('.').map_or(step, |(job, _)| job);
        let used = jobs.entry(job).or_default();
        for (what, value) in usage.split(',').filter_map(|part| part.split_once('=')) {
            match what {
                "cpu" => used.cpu += seconds(value).unwrap_or(0) * 1_000,
                "gres/gpuutil" => {
                    let percent: u32 = value.parse().unwrap_or(0);
                    used.gpus = Some(used.gpus.unwrap_or(0) + percent);
                }
                _ => {}
            }
        }
    }
    jobs
}

/// `[days-]hours:minutes:seconds`, with or without a fraction.
fn seconds(time: &str) -> Option<u64> {
    let (days, time) = time.split_once('-').unwrap_or(("0", time));
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let clock = parts.reduce(|sum, part| Some(sum? * 60 + part?))??;
    Some(days.parse::<u64>().ok()? * 86_400 + clock)
}

/// `gpu:a100:2`.
pub(super) fn gres(task: &Task) -> Option<String> {
    let gpus = task.gpus.filter(|gpus| *gpus > 0)?;
    Some(match &task.gpu {
        Some(kind) => format!("gpu:{kind}:{gpus}"),
        None => format!("gpu:{gpus}"),
    })
}

/// What a refusal in Slurm's words means.
pub(super) fn trouble(words: &str) -> Trouble {
    let words = words.trim().to_owned();
    if HOPELESS.iter().any(|known| words.contains(known)) {
        return Trouble::Never(words);
    }
    Trouble::Later(words)
}

/// What a command of Slurm's, as whoever runs the site, answers.
pub(super) fn tell(program: &str, arguments: &[&str]) -> Result<String, Trouble> {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE).arg(program).args(arguments);
    answer(program, command)
}

fn answer(program: &str, mut command: Command) -> Result<String, Trouble> {
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.map_err(|error| Trouble::Later(format!("{program}: {error}")))?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    let words = if words.is_empty() {
        ended.status.to_string()
    } else {
        words
    };
    Err(trouble(&format!("{program}: {words}")))
}

/// Slurm's commands.
struct Commands {
    partition: Option<String>,
}

impl Way for Commands {
    fn current(&mut self, names: &[&str]) -> Result<BTreeMap<String, String>, Trouble> {
        let names = format!("--name={}", names.join(","));
        let answer = tell("squeue", &["-h", "-a", "-t", "all", &names, "-o", "%T|%j"])?;
        let lines = answer.lines().filter_map(|line| line.split_once('|'));
        Ok(lines
            .map(|(state, name)| (name.to_owned(), state.to_owned()))
            .collect())
    }

    fn accounted(&mut self, names: &[&str]) -> Result<Vec<Account>, Trouble> {
        let names = format!("--name={}", names.join(","));
        let fields = "State,ElapsedRaw,End,ExitCode,JobName";
        // All starts of a job, and no steps; a job runs ninety days at most. "Now" is by this machine's clock, which
        // may be behind: then Slurm would not tell of what is to come by it.
        let arguments = [
            "-a",
            "-n",
            "-P",
            "-X",
            "-D",
            &names,
            "-S",
            "now-100days",
            "-E",
            "now+100days",
            "-o",
            fields,
        ];
        let answer = tell("sacct", &arguments)?;
        Ok(answer.lines().filter_map(accounted).collect())
    }

    fn submit(&mut self, task: &Task, user: &User) -> Result<(), Trouble> {
        let mut command = user.command("timeout");
        command
            .arg(PATIENCE)
            .arg("sbatch")
            .args(["--parsable", "--no-requeue"]);
        let options = [
            ("job-name", task.name.clone()),
            ("comment", task.name.clone()),
            ("account", task.account.clone()),
            ("time", task.minutes.to_string()),
            ("chdir", task.folder.display().to_string()),
            ("output", task.file("slurm").display().to_string()),
        ];
        command.args(options.map(|(name, value)| format!("--{name}={value}")));
        command.args(self.partition.iter().map(|name| format!("--partition={name}")));
        command.args(gres(task).map(|gres| format!("--gres={gres}")));
        command
            .arg(task.run())
            .envs(std::env::var_os("SLURM_CONF").map(|path| ("SLURM_CONF", path)));
        answer("sbatch", command).map(drop)
    }

    fn cancel(&mut self, task: &Task) -> Result<(), Trouble> {
        tell("scancel", &["--name", &task.name]).map(drop)
    }
}

/// One line of sacct.
fn accounted(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.splitn(5, '|').collect();
    let [state, seconds, end, code, name] = fields.as_slice() else {
        return None;
    };
    let (code, signal) = code.split_once(':')?;
    let code: u32 = code.parse().ok()?;
    Some(Account {
        name: (*name).to_owned(),
        // As in `CANCELLED by 1000`; by nobody, a controller has dropped it that came back without its memory.
        state: match *state {
            "CANCELLED" => DROPPED.to_owned(),
            "CANCELLED by 0" => ROOTED_OUT.to_owned(),
            state => state.split(' ').next()?.to_owned(),
        },
        seconds: seconds.parse().ok()?,
        is_over: *end != "Unknown" && *end != "None",
        code: if code == 0 {
            128 + signal.parse::<u32>().ok()?
        } else {
            code
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(line: &str) -> Account {
        accounted(&format!("{line}|khub-alpha-job-1.1")).expect("a line of sacct")
    }

    #[test]
    fn the_controller_and_the_accounting_are_heard_together() {
        let ended = |exit, millis| Some(Seen::Ended { exit, millis });
        let running = |millis| Some(Seen::Running { millis });
        let lost = |why: &str| Exit::Lost(why.to_owned());
        let cases = [
            (None, vec![], None),
            (Some("PENDING"), vec![], Some(Seen::Waiting)),
            (
                Some("PENDING"),
                vec!["PENDING|0|Unknown|0:0"],
                Some(Seen::Waiting),
            ),
            (Some("RUNNING"), vec!["RUNNING|29|Unknown|0:0"], running(0)),
            (Some("RUNNING"), vec!["RUNNING|30|Unknown|0:0"], running(30_000)),
            // The controller says so first.
            (Some("COMPLETED"), vec!["RUNNING|31|Unknown|0:0"], running(31_000)),
            (
                Some("RUNNING"),
                vec!["NODE_FAIL|9|2026-11-25T02:10:50|0:0", "RUNNING|7|Unknown|0:0"],
                running(9_000),
            ),
            (
                Some("COMPLETED"),
                vec!["COMPLETED|8|2026-11-25T02:10:50|0:0"],
                ended(Exit::Done, 8_000),
            ),
            (
                None,
                vec!["COMPLETED|8|2026-11-25T02:10:50|0:0"],
                ended(Exit::Done, 8_000),
            ),
            (
                None,
                vec!["FAILED|2|2026-11-25T02:10:50|3:0"],
                ended(Exit::Failed("exit code 3".into()), 2_000),
            ),
            (
                None,
                vec!["CANCELLED by 1000|2|2026-11-25T02:10:50|0:15"],
                ended(Exit::Stopped, 2_000),
            ),
            (
                None,
                vec!["CANCELLED by 0|2|2026-11-25T02:10:50|0:15"],
                ended(lost("Slurm, or root at the site, cancelled it"), 2_000),
            ),
            (
                None,
                vec!["NODE_FAIL|9|2026-11-25T02:10:50|1:0"],
                ended(lost("its node failed"), 9_000),
            ),
            (
                None,
                vec!["CANCELLED|2|2026-11-25T02:10:50|0:0"],
                ended(lost("Slurm dropped it"), 2_000),
            ),
            (
                None,
                vec!["RUNNING|9|Unknown|0:0"],
                Some(Seen::Forgotten(RUNAWAY)),
            ),
            // All starts count.
            (
                Some("COMPLETED"),
                vec![
                    "NODE_FAIL|9|2026-11-25T02:10:50|0:0",
                    "TIMEOUT|60|2026-11-25T03:10:50|0:0",
                ],
                ended(Exit::TimedOut, 69_000),
            ),
        ];
        for (current, lines, expected) in cases {
            let starts: Vec<Account> = lines.iter().map(|line| start(line)).collect();
            let starts: Vec<&Account> = starts.iter().collect();
            assert_eq!(judge(current, &starts, false), expected, "{current:?} {lines:?}");
        }
        let twice = start("FAILED|9|2026-11-25T02:10:50|125:0");
        let exit = lost("Slurm started it a second time");
        assert_eq!(judge(None, &[&twice], true), ended(exit, 9_000));
    }

    #[test]
    fn accounts_of_an_earlier_process_are_known_again() {
        let answer = "root||\nroot|root|\nkhub-reviews||2\nkhub-reviews|kmj|\nkhub-folds||\nphysics||7\n";
        let found: Vec<_> = limits(answer).collect();
        assert_eq!(found, [("khub-reviews", 2), ("khub-folds", usize::MAX)]);
    }

    #[test]
    fn what_nodes_say_of_steps_is_summed_by_job() {
        let answer = "7.extern|cpu=00:00:00,mem=0\n7.batch|cpu=00:01:30,energy=0,mem=2M\n\
                      8.batch|cpu=1-02:03:04.500,gres/gpumem=1G,gres/gpuutil=150\n9.batch|\n";
        let found = used(answer);
        let of = |job: &str| (found[job].cpu, found[job].gpus);
        assert_eq!(of("7"), (90_000, None));
        assert_eq!(of("8"), (((26 * 60 + 3) * 60 + 4) * 1_000, Some(150)));
        assert_eq!(of("9"), (0, None));
    }

    #[test]
    fn a_refusal_is_for_now_or_for_good() {
        let never = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified";
        assert_eq!(trouble(never), Trouble::Never(never.to_owned()));
        let later = "Unable to contact slurm controller (connect failure)";
        assert_eq!(trouble(later), Trouble::Later(later.to_owned()));
    }
}
