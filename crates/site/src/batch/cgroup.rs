//! A control group for each job (Linux' second version), where the machine lets the site make them: a job has its part of
//! memory and processors, all of its processes can be killed, and the kernel counts what they used.
//!
//! Groups are made beside the site's own process. Only a group without processes may limit what is in its children, so
//! the site moves itself into one of its own, `khub-site`, if that is in the way.

use super::gauge::cpu_of;
use super::task::Task;
use consortium::Digest;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the site's own process goes.
const OWN: &str = "khub-site";
/// The period in which processor time is shared out, µs.
const PERIOD: u64 = 100_000;

/// Where jobs' groups are made, and what can be limited there.
#[derive(Debug)]
pub(super) struct Groups {
    base: PathBuf,
    memory: bool,
    cpu: bool,
    /// The groups that there may be.
    made: BTreeSet<String>,
}

impl Groups {
    /// The groups of this machine, or why there are none.
    pub(super) fn find() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let base = base(&mounts, &own).ok_or("this machine has no control groups of version 2")?;
        let unwritten =
            |error: io::Error| format!("no control groups can be made in {}: {error}", base.display());
        let probe = base.join(format!("khub-probe-{}", std::process::id()));
        fs::create_dir(&probe)
            .and_then(|()| fs::remove_dir(&probe))
            .map_err(unwritten)?;
        let mut groups = Self {
            memory: false,
            cpu: false,
            made: BTreeSet::new(),
            base,
        };
        groups.sweep();
        let offered = words(&groups.base.join("cgroup.controllers"));
        let wanted: Vec<&str> = ["memory", "cpu"]
            .into_iter()
            .filter(|it| offered.contains(*it))
            .collect();
        if !wanted.is_empty() && groups.share(&wanted).is_err() && groups.step_aside().is_ok() {
            // Others may be in the way, too: then there are no limits.
            let _ = groups.share(&wanted);
        }
        let shared = words(&groups.base.join("cgroup.subtree_control"));
        (groups.memory, groups.cpu) = (shared.contains("memory"), shared.contains("cpu"));
        Ok(groups)
    }

    /// What they do, in a few words.
    pub(super) fn described(&self) -> &'static str {
        match (self.memory, self.cpu) {
            (true, true) => "memory and processors by control groups",
            (true, false) => "memory by control groups",
            (false, true) => "processors by control groups",
            (false, false) => {
                "none, but jobs end whole: control groups have neither memory nor processors here"
            }
        }
    }

    /// A group for a job that has so many of the machine's GPUs: as much of everything else.
    pub(super) fn make(&mut self, task: &Task, gpus: (u32, u32)) -> io::Result<PathBuf> {
        let group = self.of(task);
        match fs::create_dir(&group) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.made.insert(name(task));
        let part = |all: u64| all * u64::from(gpus.0.min(gpus.1)) / u64::from(gpus.1.max(1));
        if gpus.1 > 0 && self.memory {
            fs::write(group.join("memory.max"), part(memory()).max(1 << 20).to_string())?;
        }
        if gpus.1 > 0 && self.cpu {
            let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
            let quota = part(processors * PERIOD).max(PERIOD / 10);
            fs::write(group.join("cpu.max"), format!("{quota} {PERIOD}"))?;
        }
        Ok(group)
    }

    /// Processor time of a job, ms.
    pub(super) fn cpu(&self, task: &Task) -> Option<u64> {
        cpu_of(&fs::read_to_string(self.of(task).join("cpu.stat")).ok()?)
    }

    /// Why a job may have failed: the kernel had to kill a part of it.
    pub(super) fn out_of_memory(&self, task: &Task) -> Option<String> {
        let group = self.of(task);
        let events = fs::read_to_string(group.join("memory.events")).ok()?;
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
        if killed.trim() == "0" {
            return None;
        }
        let most = fs::read_to_string(group.join("memory.max")).unwrap_or_default();
        Some(match most.trim().parse::<u64>() {
            Ok(most) => {
                let mib = most >> 20;
                format!(
                    "out of memory: its part of this machine is {mib} MiB; ask for more GPUs, or use less"
                )
            }
            Err(_) => "out of memory: the machine has no more".to_owned(),
        })
    }

    /// Kills all that a job has started, whatever session it is in.
    pub(super) fn kill(&self, task: &Task) -> io::Result<()> {
        kill(&self.of(task))
    }

    /// Only these jobs are still there.
    pub(super) fn keep(&mut self, tasks: &[&Task]) {
        let there = tasks.iter().filter(|task| self.of(task).is_dir());
        let there: Vec<String> = there.map(|task| name(task)).collect();
        self.made.extend(there);
        let gone = |name: &String| tasks.iter().all(|task| self::name(task) != *name);
        for name in self.made.clone().into_iter().filter(gone) {
            let group = self.base.join(&name);
            let _ = kill(&group);
            // One that is still dying is removed at the next turn.
            if fs::remove_dir(&group).is_ok() || !group.is_dir() {
                self.made.remove(&name);
            }
        }
    }

    fn of(&self, task: &Task) -> PathBuf {
        self.base.join(name(task))
    }

    /// Removes what an earlier process left behind: a group with processes stays.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("khub-") && name.contains("-job-"))
            {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    fn share(&self, wanted: &[&str]) -> io::Result<()> {
        let wanted: Vec<String> = wanted.iter().map(|it| format!("+{it}")).collect();
        fs::write(self.base.join("cgroup.subtree_control"), wanted.join(" "))
    }

    fn step_aside(&self) -> io::Result<()> {
        let own = self.base.join(OWN);
        fs::create_dir_all(&own)?;
        fs::write(own.join("cgroup.procs"), std::process::id().to_string())
    }
}

/// Two sites of one name, of two hubs, may share a machine: the folder tells them apart.
fn name(task: &Task) -> String {
    let folder = Digest::of(task.folder.as_os_str().as_encoded_bytes());
    format!("{}-{}", task.name, &folder.hex()[..8])
}

fn kill(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.kill"), "1")
}

/// The group of this process, or the one above if that is `khub-site`.
fn base(mounts: &str, own: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup2 ").then(|| place.split(' ').nth(4))?
    })?;
    let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let group = group.strip_suffix(&format!("/{OWN}")).unwrap_or(group);
    (!group.contains("/..")).then(|| Path::new(mount).join(group.trim_start_matches('/')))
}

fn words(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Memory of this machine, bytes.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_made_beside_the_site() {
        let unified = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        let both = "25 20 0:20 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                    33 20 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        for (mounts, own, expected) in [
            (
                unified,
                "0::/user.slice/x.scope\n",
                Some("/sys/fs/cgroup/user.slice/x.scope"),
            ),
            (
                unified,
                "0::/system.slice/khub.service/khub-site\n",
                Some("/sys/fs/cgroup/system.slice/khub.service"),
            ),
            (both, "4:memory:/a\n0::/\n", Some("/sys/fs/cgroup/unified/")),
            (both, "4:memory:/a\n", None),
            (unified, "0::/../other\n", None),
            ("", "0::/\n", None),
        ] {
            assert_eq!(base(mounts, own), expected.map(PathBuf::from), "{own}");
        }
    }
}
