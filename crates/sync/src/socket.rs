//! The other line between a site and a program: a Unix socket in the job's folder, with the same lines of
//! [`crate::contract`] on it.
//!
//! It is for programs whose standard input and output don't reach the process that talks (a launcher stands
//! between), and for those that the site didn't start. Whoever may write to the folder may connect, nobody else.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! # let folder = dir.path();
//! use std::io::{BufRead, BufReader, Write};
//! use sync::{Order, socket};
//! let listener = socket::listen(folder)?; // the site
//! let mut program = BufReader::new(socket::connect(folder)?);
//! let (mut site, _) = listener.accept()?;
//! site.write_all(Order::Finish.line().as_bytes())?;
//! let mut line = String::new();
//! program.read_line(&mut line)?;
//! assert_eq!(Order::read(&line)?, Order::Finish);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Where a site tells a program that it starts what folder its job has.
pub const FOLDER_VARIABLE: &str = "KHUB_JOB_FOLDER";
/// Where it tells where its socket is.
pub const SOCKET_VARIABLE: &str = "KHUB_SOCKET";
/// Where it tells in which folder the site's own data for it are, if the site keeps any. They never leave the site.
pub const OWN_VARIABLE: &str = "KHUB_OWN_DATA";

const NAME: &str = "program.sock";
/// What `sun_path` holds everywhere, with its end.
const LONGEST: usize = 103;

/// Where the socket of a job's folder is.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

/// Waits for a program in `folder`, in place of whoever waited there before.
pub fn listen(folder: &Path) -> io::Result<UnixListener> {
    let new = folder.join("program.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let listener = reach(folder, "program.new", |path| UnixListener::bind(path))?;
    // It gets its place once others can't open it any more.
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, path(folder))?;
    Ok(listener)
}

/// Connects to the site that waits in `folder`.
pub fn connect(folder: &Path) -> io::Result<UnixStream> {
    reach(folder, NAME, |path| UnixStream::connect(path))
}

/// A socket's address has room for a short path only; a long one is gone by way of the open folder.
fn reach<T>(folder: &Path, name: &str, with: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(name);
    if path.as_os_str().len() <= LONGEST {
        return with(&path);
    }
    let open = File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    if !short.exists() {
        let what = format!(
            "{} is longer than a socket's path may be: {LONGEST} bytes",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    with(&short.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn however_deep_the_folder_is() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [dir.path().to_owned(), dir.path().join("deep".repeat(40))] {
            fs::create_dir_all(&folder).unwrap();
            let _earlier = listen(&folder).unwrap();
            let listener = listen(&folder).unwrap();
            connect(&folder).unwrap().write_all(b"hello").unwrap();
            let mut heard = String::new();
            listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
            assert_eq!(heard, "hello");
            let mode = fs::metadata(path(&folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let error = connect(dir.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        drop(listen(dir.path()).unwrap());
        let error = connect(dir.path()).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionRefused,
            "a site that is gone"
        );
    }
}
