//! The three site processes: each with its own folder and credential, talking to the hub over HTTP only.

use crate::failure::Failure;
use crate::folder::Folder;
use consortium::{Site, SiteId};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

pub(crate) struct Sites {
    running: Vec<(SiteId, Child)>,
}

impl Sites {
    pub(crate) fn start(folder: &Folder, url: &str, all: &[Site]) -> Result<Self, Failure> {
        let mut sites = Self { running: Vec::new() };
        for site in all {
            let child = start(folder, url, &site.id)?;
            sites.running.push((site.id.clone(), child));
        }
        Ok(sites)
    }

    pub(crate) fn described(&self) -> String {
        let each = self
            .running
            .iter()
            .map(|(name, child)| format!("{name} (process {})", child.id()));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Sites {
    /// Closes their standard input, which takes them and their programs along; then makes sure.
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            drop(child.stdin.take());
        }
        let until = std::time::Instant::now() + std::time::Duration::from_secs(3);
        for (_, child) in &mut self.running {
            while std::time::Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            // One that has ended can't be killed, which is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(folder: &Folder, url: &str, site: &SiteId) -> Result<Child, Failure> {
    let home = folder.path("sites").join(site.as_str());
    fs::create_dir_all(&home).map_err(|e| Failure::file(&home, e))?;
    let log = home.join("site.log");
    let log = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(|e| Failure::file(&log, e))?;
    let this = std::env::current_exe().map_err(Failure::new)?;
    let mut command = Command::new(&this);
    command
        .args(["site", "--with-parent", "--threads", "1", "--hub", url])
        .arg("--credential")
        .arg(folder.path("credentials").join(site.as_str()))
        .arg("--folder")
        .arg(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log);
    // A group of its own: Ctrl-C reaches this process, which then ends its sites in order.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(|e| Failure::file(&this, e))
}
