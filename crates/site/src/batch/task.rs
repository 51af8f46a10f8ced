//! A batch job as this site runs it: its name at the scheduler, its folder, and whose it is.

use super::container::Container;
use consortium::JobId;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The open that fails at a symbolic link, as Linux has it on x86 and ARM.
const NO_FOLLOW: i32 = if cfg!(target_arch = "aarch64") {
    0o100_000
} else {
    0o400_000
};
/// And that doesn't wait for the other end of a pipe.
const NO_BLOCK: i32 = 0o4_000;

/// One attempt at a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Task {
    /// Its name at the scheduler, which no other job has.
    pub(crate) name: String,
    pub(crate) job: JobId,
    pub(crate) attempt: u32,
    pub(crate) folder: PathBuf,
    /// Whom it runs as; none is whoever runs the site, and an empty name nobody.
    pub(crate) user: Option<String>,
    /// What pays for it, as an account of the scheduler's.
    pub(crate) account: String,
    pub(crate) organisation: String,
    pub(crate) minutes: u32,
    pub(crate) gpus: Option<u32>,
    pub(crate) gpu: Option<String>,
    pub(crate) index: Option<u32>,
    /// The image that it runs in, and what runs that.
    #[serde(default)]
    pub(crate) image: Option<String>,
    #[serde(default)]
    pub(crate) container: Option<Container>,
}

/// Somebody whom jobs run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: String,
    /// Whether that is whoever runs the site.
    pub(crate) is_self: bool,
}

impl Task {
    pub(crate) fn file(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{what}-{}", self.attempt))
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.folder.join("run.sh")
    }

    /// What the job finds in its environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("KHUB_JOB", self.job.to_string()),
            ("KHUB_ATTEMPT", self.attempt.to_string()),
            ("KHUB_TASK", self.name.clone()),
            ("KHUB_JOB_FOLDER", self.folder.display().to_string()),
        ];
        environment.extend(self.index.map(|index| ("KHUB_ARRAY_INDEX", index.to_string())));
        environment
    }

    /// Writes the job's script and what starts it, and gives the folder to `user`.
    pub(crate) fn write(&self, script: &str, user: &User) -> io::Result<()> {
        let files = [("script", script.to_owned()), ("run.sh", self.starter())];
        for (name, text) in files {
            let path = self.folder.join(name);
            write_whole(&path, text.as_bytes())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        if !user.is_self {
            // The record of the site stays the site's.
            for part in ["inputs", "outputs", "checkpoint", "script", "run.sh"] {
                chown(self.folder.join(part), Some(user.uid), Some(user.gid))?;
            }
            for part in ["inputs", "checkpoint"] {
                for file in fs::read_dir(self.folder.join(part))?.flatten() {
                    chown(file.path(), Some(user.uid), Some(user.gid))?;
                }
            }
            chown(&self.folder, Some(user.uid), Some(user.gid))?;
        }
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700))
    }

    /// Runs the script once, whoever starts it how often, and notes how it ended. What ends the script must not end
    /// the note.
    fn starter(&self) -> String {
        let folder = quoted(&self.folder.display().to_string());
        let exports: String = self
            .environment()
            .iter()
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .collect();
        let (fetch, run) = match (&self.image, self.container) {
            (Some(image), Some(container)) => container.lines(&quoted(image), self),
            _ => (String::new(), "./script".to_owned()),
        };
        format!(
            "#!/bin/sh\n\
             cd {folder} || exit 126\n\
             mkdir started-{n} 2>/dev/null || {{ : > again-{n}; exit 125; }}\n\
             {exports}trap : TERM INT\n\
             begin=$(date +%s%3N)\n\
             echo \"$$ $begin\" > pid-{n}.part && mv pid-{n}.part pid-{n}\n\
             {fetch}${{KHUB_LIMIT:-}} {run} >> log-{n} 2>&1 < /dev/null\n\
             code=$?\n\
             echo \"$code $begin $(date +%s%3N)\" > exit-{n}.part && mv exit-{n}.part exit-{n}\n\
             exit $code\n",
            n = self.attempt
        )
    }

    /// What it wrote, from byte `from` on.
    pub(crate) fn log(&self, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(mut file) = regular(&self.file("log")) {
            file.seek(SeekFrom::Start(from))?;
            file.take(most as u64).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Numbers that `run.sh` has noted.
    pub(crate) fn noted(&self, what: &str) -> Option<Vec<u64>> {
        let mut text = String::new();
        regular(&self.file(what))?
            .take(200)
            .read_to_string(&mut text)
            .ok()?;
        text.split_whitespace().map(|word| word.parse().ok()).collect()
    }
}

/// Opens a plain file; a link, a pipe and a folder are none.
pub(crate) fn regular(path: &Path) -> Option<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(NO_FOLLOW | NO_BLOCK)
        .open(path)
        .ok()?;
    let found = file.metadata().ok()?;
    // A second name of a file that is somebody else's would be a way around.
    (found.is_file() && found.nlink() == 1).then_some(file)
}

/// A file is there whole, or as it was before.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole_for(0o666, path, bytes)
}

/// The same for those whom `mode` names.
pub(crate) fn write_whole_for(mode: u32, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(path.parent().unwrap_or(path))?.sync_all()
}

/// Who runs the site.
pub(crate) fn own_user() -> io::Result<User> {
    let uid = fs::metadata("/proc/self")?.uid();
    user(&uid.to_string()).ok_or_else(|| io::Error::other(format!("user {uid} has no name")))
}

/// The user of this name or number.
pub(crate) fn user(name: &str) -> Option<User> {
    let answer = Command::new("getent")
        .args(["passwd", "--", name])
        .output()
        .ok()?;
    let line = String::from_utf8(answer.stdout).ok()?;
    let fields: Vec<&str> = line.trim().split(':').collect();
    let uid = fields.get(2)?.parse().ok()?;
    Some(User {
        name: (*fields.first()?).to_owned(),
        uid,
        gid: fields.get(3)?.parse().ok()?,
        home: (*fields.get(5)?).to_owned(),
        is_self: fs::metadata("/proc/self").ok()?.uid() == uid,
    })
}

impl User {
    /// A command as this user, with a clean environment.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.command_in(None, program)
    }

    /// The same in a control group.
    pub(crate) fn command_in(&self, group: Option<&Path>, program: &str) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(group) = group {
            // Whoever runs the site may write there, and the user need not.
            let enter = "echo 0 > \"$0/cgroup.procs\" && exec \"$@\"";
            words.extend(["/bin/sh".into(), "-c".into(), enter.into(), group.into()]);
        }
        if !self.is_self {
            words.extend(["runuser", "-u", &self.name, "--"].map(OsString::from));
        }
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command
            .env("HOME", &self.home)
            .env("USER", &self.name)
            .env("LOGNAME", &self.name);
        command.env("SHELL", "/bin/sh").current_dir("/");
        command
    }
}

/// For a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
