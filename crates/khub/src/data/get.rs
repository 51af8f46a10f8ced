//! `khub data get`: a data set from where it is, else from its source.

use super::sets::{self, Recorded, Set};
use super::verify;
use crate::failure::Failure;
use crate::show;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Fetch a data set: from this machine, else from its public source, with checked digests.
///
/// A file is kept only whole and with the recorded digest. A download that was stopped goes on with the file
/// it was at.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  khub data get nsmc\n  khub data get proteins --to data\n\nA folder given with \
    --to may be named by KHUB_DATA then."
)]
pub(super) struct Args {
    /// Which data set; `khub data list` names them.
    name: String,
    /// Copy it into this folder, in a folder of its name.
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Print the result as JSON on standard output; what goes on is told on standard error.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Serialize)]
struct Got {
    name: &'static str,
    path: PathBuf,
    how: &'static str,
    copied_to: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let set = sets::named(&args.name)?;
    let whole = set.find().filter(|found| found.missing == 0);
    let (path, how, form) = match whole {
        Some(found) => (found.path, found.how, found.form),
        None => {
            let path = download(set, &|text| eprint!("{text}")).map_err(|why| {
                let nowhere =
                    format_args!("{} is not here and can't be downloaded: {why}", set.name).to_string();
                Failure::new(nowhere).hint(format!("KHUB_DATA with a folder that has it under {}/", set.name))
            })?;
            (path, "downloaded", &set.forms[set.forms.len() - 1])
        }
    };
    let copied_to = match &args.to {
        Some(folder) => Some(copy(set, &path, &form.files(), &folder.join(set.name))?),
        None => None,
    };
    if args.json {
        return show::json(&Got {
            name: set.name,
            path,
            how,
            copied_to,
        });
    }
    show::print(&format!("{} is in {} ({how})\n", set.name, path.display()));
    if let Some(folder) = copied_to {
        show::print(&format!("copied to {}\n", folder.display()));
    }
    Ok(())
}

/// Copies the files of a set, each whole or not at all, if they are what is recorded.
fn copy(set: &Set, from: &Path, files: &[Recorded], to: &Path) -> Result<PathBuf, Failure> {
    let differences = verify::differences(from, files)?;
    if let Some(first) = differences.first() {
        let message = format_args!("{}: {first}; nothing was copied", from.display()).to_string();
        return Err(
            Failure::new(message).hint(format!("`khub data verify {}` tells all that differs", set.name))
        );
    }
    for file in files {
        let target = to.join(file.path);
        let part = beside(&target);
        let failed = |error| Failure::file(&target, error);
        make_room(&target).map_err(failed)?;
        fs::copy(from.join(file.path), &part).map_err(failed)?;
        fs::rename(&part, &target).map_err(failed)?;
    }
    Ok(to.to_owned())
}

/// Fetches the files of a set into the cache, and says where that is.
pub(crate) fn download(set: &'static Set, tell: &dyn Fn(&str)) -> Result<PathBuf, String> {
    let source = set.download.as_ref().ok_or("nobody serves its files")?;
    let cache = set
        .cache()
        .ok_or("there is no folder for it: neither HOME nor XDG_CACHE_HOME is set")?;
    let form = &set.forms[set.forms.len() - 1];
    for file in form.files() {
        fetch(&source.address(), &file, &cache, tell)?;
    }
    Ok(cache)
}

/// More than any file that khub fetches has: a wrong server can't fill the disk.
const MOST_BYTES: u64 = 64 << 20;

/// Fetches a file from below `address` into `folder`, unless it is there. It is kept only if its digest is right.
fn fetch(address: &str, file: &Recorded, folder: &Path, tell: &dyn Fn(&str)) -> Result<(), String> {
    let target = folder.join(file.path);
    let difference = |path: &Path| file.difference(path).map_err(|failure| failure.to_string());
    if difference(&target)?.is_none() {
        return Ok(());
    }
    let url = format!("{address}/{}", file.path);
    tell(&format!("fetching  {url}\n"));
    let part = beside(&target);
    let bytes = save(&url, &part).map_err(|error| format!("{url}: {error}"))?;
    if let Some(what) = difference(&part)? {
        let digest = what.strip_prefix("has other bytes: ").unwrap_or(&what);
        // It says what was wrong with it; nobody needs it any more.
        let _ = fs::remove_file(&part);
        return Err(format!("{url} gave {} with {digest}", show::bytes(bytes)));
    }
    fs::rename(&part, &target).map_err(|error| format!("{}: {error}", target.display()))
}

/// Writes what `url` gives to `path`; returns how many bytes that are.
fn save(url: &str, path: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_resolve(Some(Duration::from_secs(5)))
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_recv_response(Some(Duration::from_secs(20)))
        .timeout_global(Some(Duration::from_secs(600)))
        .build()
        .into();
    let mut response = agent.get(url).call()?;
    let body = response.body_mut();
    let template = "          {bar:40.cyan/blue} {bytes} of {total_bytes}  {eta}";
    let style = ProgressStyle::with_template(template).expect("the template is fixed");
    let bar = ProgressBar::new(body.content_length().unwrap_or(0)).with_style(style);
    let mut reader = bar.wrap_read(body.with_config().limit(MOST_BYTES).reader());
    make_room(path)?;
    let mut file = File::create(path)?;
    let copied = io::copy(&mut reader.by_ref(), &mut file);
    bar.finish_and_clear();
    let bytes = copied?;
    file.sync_all()?;
    Ok(bytes)
}

/// Where a file is while it isn't whole.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Makes the folder that `path` is to be in.
fn make_room(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sets::Digest;
    use std::io::Write;
    use std::net::TcpListener;

    /// A server on loopback that answers each visitor with the next of `answers`, after which nobody is there.
    fn serving(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for answer in answers {
                let (mut visitor, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let _ = visitor.read(&mut request).unwrap();
                visitor.write_all(answer.as_bytes()).unwrap();
            }
        });
        url
    }

    #[test]
    fn only_a_whole_and_right_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = Recorded {
            path: "sub/a.txt",
            bytes: None,
            digest: Digest::Git("e218280c35c75f37881899d40bc5f806e4acc415"),
        };
        let url = serving(&[
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nwrong",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nkhu",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nkhub\n",
        ]);
        let fetch = || fetch(&url, &file, folder.path(), &|_| {});
        let wrong = fetch().unwrap_err();
        assert!(wrong.contains("sub/a.txt gave 5 bytes with digest "), "{wrong}");
        assert!(wrong.contains(", not e218280c"), "{wrong}");
        for expected in ["", "404"] {
            let error = fetch().unwrap_err();
            assert!(error.contains("sub/a.txt") && error.contains(expected), "{error}");
            assert!(!folder.path().join(file.path).exists());
        }
        fetch().unwrap();
        assert_eq!(fs::read(folder.path().join(file.path)).unwrap(), b"khub\n");
        assert_eq!(
            fs::read_dir(folder.path().join("sub")).unwrap().count(),
            1,
            "nothing is left beside it"
        );
        // What is there is not fetched again: nobody answers any more.
        fetch().unwrap();
    }
}
