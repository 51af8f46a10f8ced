//! Batch jobs as processes of this machine, which outlive the site's process. A GPU is one job's at a time.

use super::cgroup::Groups;
use super::gauge::{Busy, Gauge};
use super::task::{Task, User, write_whole};
use super::{Scheduler, Seen, Trouble, failed};
use consortium::Exit;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// What `timeout` ends with when it has stopped what took too long.
const TIMED_OUT: u64 = 124;
/// How often a job is asked to end before it is killed.
const ASKED: u32 = 10;

pub(super) struct Local {
    gpus: u32,
    /// The GPUs that jobs hold, by their names.
    held: BTreeMap<String, Vec<u32>>,
    asked: BTreeMap<String, u32>,
    gauge: Gauge,
    /// Or why there are none.
    groups: Result<Groups, String>,
}

impl Local {
    pub(super) fn new(gpus: u32) -> Self {
        Self {
            gpus,
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            gauge: Gauge::default(),
            groups: Groups::find(),
        }
    }

    fn look_at(&self, task: &Task) -> Option<Seen> {
        if let Some(noted) = task.noted("exit") {
            let [code, begin, end] = noted.as_slice() else {
                return Some(lost("what it noted of its end can't be read"));
            };
            // What it left behind would go on beside the next job.
            let _ = self.groups.as_ref().map(|groups| groups.kill(task));
            let exit = match *code {
                0 => Exit::Done,
                _ if task.file("cancelled").exists() => Exit::Stopped,
                TIMED_OUT => Exit::TimedOut,
                code => Exit::Failed(self.why(task).unwrap_or_else(|| format!("exit code {code}"))),
            };
            let millis = end.saturating_sub(*begin);
            return Some(Seen::Ended { exit, millis });
        }
        match task.noted("pid").as_deref() {
            Some([pid, begin]) if is_alive(*pid, task) => Some(Seen::Running {
                millis: now().saturating_sub(*begin),
            }),
            // Between the two looks it may have come to its end.
            Some(_) if task.file("exit").exists() => self.look_at(task),
            Some(_) if task.file("cancelled").exists() => Some(Seen::Ended {
                exit: Exit::Stopped,
                millis: 0,
            }),
            Some(_) => Some(match self.why(task) {
                Some(why) => Seen::Ended {
                    exit: Exit::Failed(why),
                    millis: 0,
                },
                None => lost("its processes are gone"),
            }),
            None if task.file("started").exists() => Some(Seen::Waiting),
            None => None,
        }
    }

    /// What the kernel did to it.
    fn why(&self, task: &Task) -> Option<String> {
        self.groups.as_ref().ok()?.out_of_memory(task)
    }
}

impl Scheduler for Local {
    fn look(&mut self, tasks: &[&Task]) -> Result<BTreeMap<String, Seen>, Trouble> {
        let seen = tasks
            .iter()
            .filter_map(|task| Some((task.name.clone(), self.look_at(task)?)));
        let seen: BTreeMap<String, Seen> = seen.collect();
        self.held.clear();
        for task in tasks {
            if matches!(seen.get(&task.name), Some(Seen::Waiting | Seen::Running { .. })) {
                let held = fs::read_to_string(task.folder.join("gpus")).unwrap_or_default();
                let held = held
                    .split(',')
                    .filter_map(|gpu| gpu.trim().parse().ok())
                    .collect();
                self.held.insert(task.name.clone(), held);
            }
        }
        if !self.held.is_empty() {
            self.gauge.look();
        }
        Ok(seen)
    }

    fn submit(&mut self, task: &Task, user: &User) -> Result<(), Trouble> {
        let wanted = task.gpus.unwrap_or(self.gpus);
        let held: Vec<u32> = self.held.values().flatten().copied().collect();
        let free: Vec<u32> = (0..self.gpus)
            .filter(|gpu| !held.contains(gpu))
            .take(wanted as usize)
            .collect();
        // A machine that has said nothing of GPUs runs what the hub sends.
        if self.gpus > 0 && free.len() < wanted as usize {
            return Err(Trouble::Later(format!(
                "{} of {wanted} GPUs are free",
                free.len()
            )));
        }
        let gpus: Vec<String> = free.iter().map(ToString::to_string).collect();
        write_whole(&task.folder.join("gpus"), gpus.join(",").as_bytes()).map_err(failed)?;
        let group = match &mut self.groups {
            Ok(groups) => Some(groups.make(task, (wanted, self.gpus)).map_err(failed)?),
            Err(_) => None,
        };
        let mut command = user.command_in(group.as_deref(), "setsid");
        command
            .arg("--fork")
            .arg("/bin/sh")
            .arg(task.run())
            .envs(task.environment());
        if self.gpus > 0 {
            command.env("CUDA_VISIBLE_DEVICES", gpus.join(","));
        }
        let limit = format!("timeout --kill-after=30 {}", u64::from(task.minutes) * 60);
        command
            .env("KHUB_LIMIT", limit)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let ended = command.status().map_err(failed)?;
        if !ended.success() {
            return Err(Trouble::Later(format!("its processes can't be started: {ended}")));
        }
        self.held.insert(task.name.clone(), free);
        Ok(())
    }

    fn busy(&mut self, task: &Task) -> Option<Busy> {
        let session = *task.noted("pid")?.first()?;
        let held = self.held.get(&task.name).map_or(&[][..], Vec::as_slice);
        let cpu = self.groups.as_ref().ok().and_then(|groups| groups.cpu(task));
        self.gauge.read(task, session, cpu, held)
    }

    fn cancel(&mut self, task: &Task) -> Result<(), Trouble> {
        fs::write(task.file("cancelled"), b"").map_err(failed)?;
        let Some([pid, _]) = task
            .noted("pid")
            .as_deref()
            .and_then(|noted| <[u64; 2]>::try_from(noted).ok())
        else {
            return Ok(());
        };
        let asked = self.asked.entry(task.name.clone()).or_insert(0);
        *asked += 1;
        let signal = if *asked > ASKED { "-KILL" } else { "-TERM" };
        if let (true, Ok(groups)) = (*asked > ASKED, &self.groups)
            && groups.kill(task).is_ok()
        {
            return Ok(());
        }
        if is_alive(pid, task) {
            // It leads a session of its own, in which `timeout` has a group of its own.
            let _ = Command::new("pkill")
                .args([signal, "-s", &pid.to_string()])
                .status();
        }
        Ok(())
    }

    fn limits(&self) -> String {
        match &self.groups {
            Ok(groups) => groups.described().to_owned(),
            Err(why) => format!("none: {why}"),
        }
    }

    fn settle(&mut self, tasks: &[&Task]) -> Result<(), Trouble> {
        if let Ok(groups) = &mut self.groups {
            groups.keep(tasks);
        }
        self.gauge.keep(tasks);
        self.asked
            .retain(|name, _| tasks.iter().any(|task| task.name == *name));
        Ok(())
    }
}

fn lost(why: &str) -> Seen {
    Seen::Ended {
        exit: Exit::Lost(why.to_owned()),
        millis: 0,
    }
}

/// Whether that process is this job's: numbers are used again.
fn is_alive(pid: u64, task: &Task) -> bool {
    let wanted = format!("KHUB_TASK={}", task.name);
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == wanted.as_bytes())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
