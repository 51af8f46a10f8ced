//! The three site processes: each with its own folder and credential, talking to the hub over HTTP only.

use crate::failure::Failure;
use crate::folder::Folder;
use consortium::{Site, SiteId};
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a site that ends by itself is started again.
const RESTARTS: u32 = 5;

pub(crate) struct Sites {
    folder: Folder,
    url: String,
    running: Vec<(SiteId, Child)>,
    restarts: u32,
}

impl Sites {
    pub(crate) fn start(folder: &Folder, url: &str, all: &[Site]) -> Result<Self, Failure> {
        let (folder, url) = (folder.clone(), url.to_owned());
        let mut sites = Self {
            folder,
            url,
            running: Vec::new(),
            restarts: 0,
        };
        for site in all {
            let child = start(&sites.folder, &sites.url, &site.id)?;
            sites.running.push((site.id.clone(), child));
        }
        Ok(sites)
    }

    /// Starts a site again that has ended, as whatever runs services would.
    pub(crate) fn revive(&mut self, tell: &dyn Fn(&str)) -> Result<(), Failure> {
        for (site, child) in &mut self.running {
            let Ok(Some(status)) = child.try_wait() else {
                continue;
            };
            let log = self.folder.path("sites").join(site.as_str()).join("site.log");
            self.restarts += 1;
            if self.restarts > RESTARTS {
                return Err(
                    Failure::new(format_args!("site {site} ended again and again, with {status}"))
                        .hint(format!("see {}", log.display())),
                );
            }
            *child = start(&self.folder, &self.url, site)?;
            tell(&format!(
                "site {site} ended with {status}; started again as process {}\n",
                child.id()
            ));
        }
        Ok(())
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
        let until = Instant::now() + Duration::from_secs(3);
        for (_, child) in &mut self.running {
            while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
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
