//! How busy what jobs hold is: their GPUs where the machine can tell, else processors, of which a job that uses its GPUs
//! keeps one for each of them busy.

use super::task::Task;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Milliseconds in which it was seen how busy a job's machines were, and in which they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Busy {
    pub(crate) watched: u64,
    pub(crate) busy: u64,
}

/// How often GPUs are asked.
const GPUS_EVERY: Duration = Duration::from_secs(5);
/// Linux tells times in hundredths of a second (`USER_HZ`, on all processors that khub is built for).
const TICK_MS: u64 = 10;

/// What was found at the last look at a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) at: Instant,
    /// Processor time of all its processes, ms.
    pub(super) cpu: u64,
    /// Its GPUs' mean, in percent, where that is known.
    pub(super) gpus: Option<u32>,
}

impl Look {
    /// What passed between `before` and this look, for a job of so many GPUs.
    pub(super) fn since(&self, before: &Self, gpus: u32) -> Busy {
        let watched = millis(self.at.saturating_duration_since(before.at));
        let busy = match self.gpus {
            Some(percent) => watched * u64::from(percent) / 100,
            None => self.cpu.saturating_sub(before.cpu) / u64::from(gpus.max(1)),
        };
        Busy {
            watched,
            busy: busy.min(watched),
        }
    }
}

/// What a machine's own tools tell.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    last: BTreeMap<String, Look>,
    /// Processor time by session, as of this turn.
    sessions: BTreeMap<u64, u64>,
    /// Percent by GPU, and when that was asked; none that can tell where it failed once.
    gpus: Option<(Instant, Option<BTreeMap<u32, u32>>)>,
}

impl Gauge {
    /// A new turn.
    pub(super) fn look(&mut self) {
        self.sessions = sessions();
        match &self.gpus {
            Some((_, None)) => {}
            Some((at, _)) if at.elapsed() < GPUS_EVERY => {}
            _ => self.gpus = Some((Instant::now(), nvidia())),
        }
    }

    /// What passed since the last look at a job, of which the first process leads `session`.
    /// `cpu` is its processor time, if something knows it better.
    pub(super) fn read(&mut self, task: &Task, session: u64, cpu: Option<u64>, held: &[u32]) -> Option<Busy> {
        let now = Look {
            at: Instant::now(),
            cpu: cpu.or_else(|| self.sessions.get(&session).copied())?,
            gpus: self.mean(held),
        };
        let before = self.last.insert(task.name.clone(), now)?;
        Some(now.since(&before, task.gpus.unwrap_or(1)))
    }

    /// Only these jobs are still there.
    pub(super) fn keep(&mut self, tasks: &[&Task]) {
        self.last
            .retain(|name, _| tasks.iter().any(|task| task.name == *name));
    }

    fn mean(&self, held: &[u32]) -> Option<u32> {
        let known = self.gpus.as_ref()?.1.as_ref()?;
        let percents: Option<Vec<u32>> = held.iter().map(|gpu| known.get(gpu).copied()).collect();
        let percents = percents.filter(|percents| !percents.is_empty())?;
        Some(percents.iter().sum::<u32>() / u32::try_from(percents.len()).ok()?)
    }
}

/// Processor time of all processes, and of the children that they have waited for, by their session.
fn sessions() -> BTreeMap<u64, u64> {
    let mut sessions = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_str()
            .is_none_or(|name| name.parse::<u32>().is_err())
        {
            continue;
        }
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((session, ticks)) = times(&stat) {
            *sessions.entry(session).or_insert(0) += ticks * TICK_MS;
        }
    }
    sessions
}

/// Session and ticks from `/proc/PID/stat`; the second field, the command's name, may have anything in it.
fn times(stat: &str) -> Option<(u64, u64)> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    let ticks = [14, 15, 16, 17].into_iter().map(field).sum::<Option<u64>>()?;
    Some((field(6)?, ticks))
}

/// Milliseconds from a control group's `cpu.stat`.
pub(super) fn cpu_of(stat: &str) -> Option<u64> {
    let micros = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(micros.trim().parse::<u64>().ok()? / 1_000)
}

/// How busy each GPU of this machine is.
fn nvidia() -> Option<BTreeMap<u32, u32>> {
    let answer = Command::new("timeout")
        .args([
            "10",
            "nvidia-smi",
            "--query-gpu=index,utilization.gpu",
            "--format=csv,noheader,nounits",
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|answer| answer.status.success())?;
    Some(percents(&String::from_utf8_lossy(&answer.stdout)))
}

fn percents(answer: &str) -> BTreeMap<u32, u32> {
    let lines = answer.lines().filter_map(|line| line.split_once(','));
    let numbers = lines.map(|(gpu, percent)| Some((gpu.trim().parse().ok()?, percent.trim().parse().ok()?)));
    numbers.flatten().collect()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_in_its_session() {
        let stat = "77 (sh) x) 1) S 1 77 70 0 -1 4194560 100 0 0 0 5 6 7 8 20 0 1 0 9 0 0";
        assert_eq!(times(stat), Some((70, 26)));
        assert_eq!(times("77 (sh"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let (session, _) = times(&own).unwrap();
        assert!(sessions().contains_key(&session));
    }

    #[test]
    fn a_control_group_counts_in_microseconds() {
        assert_eq!(cpu_of("usage_usec 1234567\nuser_usec 1\n"), Some(1_234));
        assert_eq!(cpu_of("user_usec 1\n"), None);
    }

    #[test]
    fn gpus_count_where_they_can_be_asked_and_processors_else() {
        let start = Instant::now();
        let look = |seconds, cpu, gpus| Look {
            at: start + Duration::from_secs(seconds),
            cpu,
            gpus,
        };
        let passed = |after: Look, gpus| {
            let busy = after.since(&look(0, 1_000, None), gpus);
            (busy.watched, busy.busy)
        };
        assert_eq!(passed(look(10, 6_000, None), 1), (10_000, 5_000));
        assert_eq!(passed(look(10, 6_000, None), 4), (10_000, 1_250));
        assert_eq!(passed(look(10, 91_000, None), 1), (10_000, 10_000));
        assert_eq!(passed(look(10, 91_000, Some(7)), 1), (10_000, 700));
        assert_eq!(passed(look(10, 0, None), 1), (10_000, 0));
    }

    #[test]
    fn gpus_that_say_nothing_are_left_out() {
        let answer = "0, 97\n1, 3\n2, [N/A]\n";
        assert_eq!(percents(answer), BTreeMap::from([(0, 97), (1, 3)]));
    }
}
