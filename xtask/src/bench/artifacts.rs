//! `cargo xtask bench artifacts`: how fast a large artifact comes and goes, beside nginx with the same file on the same
//! loopback and one client, curl; and what the hub needs of memory for it.
//!
//! The first download is told by itself: there every block is hashed before it leaves. Later ones within the hour
//! trust what was found right, as long as the file doesn't change. What is uploaded to nginx is neither hashed nor synced;
//! it says how fast this machine takes bytes in at all.

use super::Common;
use super::place::Place;
use super::table::table;
use crate::python::step;
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What may be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    /// The artifact's size, 10^9 bytes
    #[arg(long, default_value_t = 4.0)]
    gigabytes: f64,
    /// Downloads from each, in turns
    #[arg(long, default_value_t = 5)]
    turns: usize,
    /// Uploads to each, in turns
    #[arg(long, default_value_t = 2)]
    uploads: usize,
    #[command(flatten)]
    common: Common,
}

const PROJECT: &str = "korean-reviews";

/// Measures and prints.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let place = Place::prepare(root, &asked.common, None)?;
    let folder = place.folder.join("artifacts");
    let _ = fs::remove_dir_all(&folder);
    let served = folder.join("served");
    fs::create_dir_all(&served).map_err(|e| format!("{}: {e}", folder.display()))?;
    let bytes = (asked.gigabytes * 1e9) as u64;
    let file = folder.join("file");
    fill(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))?;
    let hub = Hub::start(root, &place, &folder)?;
    let digest = hub.put(&file)?;
    // The very file that the hub has, so that both read the same pages.
    fs::hard_link(hub.path(&digest), served.join("file")).map_err(|e| format!("a link: {e}"))?;
    let nginx = Nginx::start(root, &served)?;
    let mut report = Report {
        nginx: nginx.version.clone(),
        bytes,
        digest: digest.clone(),
        ..Report::default()
    };
    report.memory_before = hub.peak()?;
    report.first = hub.download(&digest)?;
    for _ in 0..asked.turns {
        report.from_nginx.push(nginx.download()?);
        report.from_hub.push(hub.download(&digest)?);
    }
    report.memory_after_downloads = hub.peak()?;
    for _ in 0..asked.uploads {
        report.to_nginx.push(nginx.upload(&file)?);
        report.to_hub.push(hub.upload(&file, &digest, bytes)?);
    }
    report.memory_after = hub.peak()?;
    report.ratio = median(&report.from_hub) / median(&report.from_nginx);
    drop((hub, nginx));
    let _ = fs::remove_dir_all(&folder);
    asked.common.print(&report)
}

/// Bytes that don't compress, and are on the disk.
fn fill(path: &Path, bytes: u64) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let mut block = vec![0; 1 << 20];
    let mut word = 1_u64;
    let mut left = bytes;
    while left > 0 {
        for chunk in block.chunks_exact_mut(8) {
            // xorshift64
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        let now = block.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&block[..now])?;
        left -= now as u64;
    }
    file.sync_all()
}

/// A hub with the example's consortium.
struct Hub {
    process: Child,
    khub: PathBuf,
    folder: PathBuf,
    url: String,
    token: String,
}

impl Hub {
    fn start(root: &Path, place: &Place, folder: &Path) -> Result<Self, String> {
        let (khub, folder) = (place.program(), folder.join("hub"));
        let mut found = Command::new(&khub);
        found.args(["found"]).arg(root.join("crates/khub/example.toml"));
        step(found.arg("--folder").arg(&folder).stdout(Stdio::null()))?;
        let mut serve = Command::new(&khub);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--folder"]);
        let process = serve.arg(&folder).stdout(Stdio::piped()).spawn();
        let mut process = process.map_err(|e| format!("khub doesn't start: {e}"))?;
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let url = lines.map_while(Result::ok).find_map(|line| {
            let (_, url) = line.split_once(" answers at ")?;
            Some(url.to_owned())
        });
        let token = fs::read_to_string(folder.join("credentials/minji"));
        Ok(Self {
            process,
            khub,
            folder,
            url: url.ok_or("the hub ended before it answered")?,
            token: token
                .map_err(|e| format!("minji's token: {e}"))?
                .trim()
                .to_owned(),
        })
    }

    /// Keeps the file, and says its digest.
    fn put(&self, file: &Path) -> Result<String, String> {
        let mut put = Command::new(&self.khub);
        put.arg("put")
            .arg(file)
            .args(["--project", PROJECT, "--hub", &self.url]);
        put.env("KHUB_TOKEN", &self.token).stderr(Stdio::inherit());
        let told = put.output().map_err(|e| format!("khub put: {e}"))?;
        let told = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        let digest = told.strip_prefix(PROJECT).and_then(|rest| rest.strip_prefix('/'));
        Ok(digest.ok_or("khub put failed")?.to_owned())
    }

    fn path(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("blake3:");
        self.folder.join("artifacts").join(&hex[..2]).join(&hex[2..])
    }

    fn download(&self, digest: &str) -> Result<f64, String> {
        let url = format!("{}/api/v1/projects/{PROJECT}/artifacts/{digest}", self.url);
        curl(
            &["--oauth2-bearer", &self.token, "-o", "/dev/null", &url],
            "%{speed_download}",
        )
    }

    /// By an upload that could go on where it broke off.
    fn upload(&self, file: &Path, digest: &str, bytes: u64) -> Result<f64, String> {
        let begun = self.begin(digest, bytes)?;
        let id = begun["id"].as_str().ok_or("no upload was begun")?;
        let at = format!("{}/api/v1/uploads/{id}", self.url);
        if begun["complete"] == true {
            // The same bytes came before.
            curl(
                &[
                    "--oauth2-bearer",
                    &self.token,
                    "-X",
                    "DELETE",
                    "-o",
                    "/dev/null",
                    &at,
                ],
                "%{speed_upload}",
            )?;
            return self.upload(file, digest, bytes);
        }
        let file = file.to_str().ok_or("the target folder's name is not UTF-8")?;
        let headers = [
            "Upload-Offset: 0",
            "Upload-Complete: ?1",
            "Content-Type: application/partial-upload",
        ];
        let headers = headers.iter().flat_map(|header| ["-H", header]);
        let mut all = vec![
            "--oauth2-bearer",
            &self.token,
            "-X",
            "PATCH",
            "-o",
            "/dev/null",
            "-T",
            file,
        ];
        all.extend(headers);
        all.push(&at);
        curl(&all, "%{speed_upload}")
    }

    fn begin(&self, digest: &str, bytes: u64) -> Result<Value, String> {
        let wanted = serde_json::json!({"digest": digest, "bytes": bytes}).to_string();
        let url = format!("{}/api/v1/projects/{PROJECT}/uploads", self.url);
        let mut ask = Command::new("curl");
        ask.args([
            "-sS",
            "--fail-with-body",
            "--oauth2-bearer",
            &self.token,
            "--json",
            &wanted,
            &url,
        ]);
        let told = ask.output().map_err(|e| format!("curl: {e}"))?;
        serde_json::from_slice(&told.stdout).map_err(|e| format!("the hub's answer: {e}"))
    }

    /// The most memory it has held, bytes.
    fn peak(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kilobytes.ok_or("this system doesn't tell a process's peak")? * 1024)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// nginx with one folder.
struct Nginx {
    script: Child,
    version: String,
    url: String,
}

impl Nginx {
    fn start(root: &Path, served: &Path) -> Result<Self, String> {
        let started = Command::new(root.join("xtask/nginx.sh"))
            .arg(served)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut script = started.map_err(|e| format!("xtask/nginx.sh: {e}"))?;
        let mut lines = BufReader::new(script.stdout.take().expect("it is piped")).lines();
        let mut line = || {
            let line = lines.next().and_then(Result::ok);
            line.ok_or("nginx doesn't start; xtask/nginx.sh says why".to_owned())
        };
        let (version, url) = (line()?, line()?);
        Ok(Self { script, version, url })
    }

    fn download(&self) -> Result<f64, String> {
        curl(
            &["-o", "/dev/null", &format!("{}/file", self.url)],
            "%{speed_download}",
        )
    }

    fn upload(&self, file: &Path) -> Result<f64, String> {
        let file = file.to_str().ok_or("the target folder's name is not UTF-8")?;
        let url = format!("{}/uploaded", self.url);
        let speed = curl(&["-T", file, "-o", "/dev/null", &url], "%{speed_upload}")?;
        curl(&["-X", "DELETE", "-o", "/dev/null", &url], "%{speed_upload}")?;
        Ok(speed)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

/// What curl tells of a transfer.
fn curl(arguments: &[&str], what: &str) -> Result<f64, String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--noproxy", "*", "-w", what])
        .args(arguments);
    let told = curl
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("curl: {e}"))?;
    if !told.status.success() {
        return Err(format!("curl failed: {}", told.status));
    }
    let text = String::from_utf8_lossy(&told.stdout);
    text.trim()
        .parse()
        .map_err(|e| format!("curl said {text:?}: {e}"))
}

/// Speeds in bytes a second.
#[derive(Debug, Default, Serialize)]
struct Report {
    nginx: String,
    bytes: u64,
    digest: String,
    from_nginx: Vec<f64>,
    /// Where every block was hashed.
    first: f64,
    from_hub: Vec<f64>,
    /// Of the medians.
    ratio: f64,
    to_nginx: Vec<f64>,
    to_hub: Vec<f64>,
    memory_before: u64,
    memory_after_downloads: u64,
    memory_after: u64,
}

fn median(speeds: &[f64]) -> f64 {
    let mut sorted = speeds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let speed = |speeds: &[f64]| format!("{:.2}", median(speeds) / 1e9);
        let (nginx, hub) = (&self.nginx, "khub".to_owned());
        let rows = [
            vec![String::new(), nginx.clone(), hub],
            vec![
                "download, GB/s".into(),
                speed(&self.from_nginx),
                speed(&self.from_hub),
            ],
            vec!["the first, hashed".into(), String::new(), speed(&[self.first])],
            vec!["upload, GB/s".into(), speed(&self.to_nginx), speed(&self.to_hub)],
        ];
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        writeln!(
            f,
            "{} bytes, medians of {} turns",
            self.bytes,
            self.from_hub.len()
        )?;
        f.write_str(&table(&rows))?;
        writeln!(f, "download, of what nginx serves: {:.0} %", self.ratio * 100.0)?;
        write!(
            f,
            "the hub's peak memory, MB: {:.1} before, {:.1} after the downloads, {:.1} after the uploads",
            megabytes(self.memory_before),
            megabytes(self.memory_after_downloads),
            megabytes(self.memory_after)
        )
    }
}
