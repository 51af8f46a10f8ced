//! Artifacts' bytes on their way to the hub and from it. What breaks off goes on where it was: at once, if the hub
//! comes back, and else when the same file is sent or fetched again.

use crate::client::Answer;
use crate::wire::{Bytes, Done, LeftoversView, UploadView};
use crate::{ApiError, Client};
use consortium::{ArtifactId, Digest, Output};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use ureq::http::header;
use ureq::{Body, SendBody};

/// So many bytes at most are sent in one request, and sent again if that breaks off.
const SMALL: u64 = 4 << 20;
/// Bytes of the first piece of an upload in pieces, of the smallest, and of the largest.
const PIECE: u64 = 256 << 10;
const PIECES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;
/// How long to wait after the first; then twice as long each time, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(8);

impl Client {
    /// Keeps the file at `path` in a project. Its digest and size in `output` must be right.
    pub fn put(&self, path: &Path, output: &Output) -> Answer<Done> {
        self.upload(path, &output.id)?;
        self.post(&format!("/projects/{}/artifacts", output.id.project), output)
    }

    /// Sends the file at `path`, whose digest is in `id`, to the hub's store. The bytes belong to nothing and nobody can
    /// read them until a command names them.
    pub fn upload(&self, path: &Path, id: &ArtifactId) -> Answer<()> {
        let mut file = File::open(path).map_err(at(path))?;
        let bytes = file.metadata().map_err(at(path))?.len();
        if bytes <= if self.goes_in_pieces() { PIECE } else { SMALL } {
            let path = format!("/bytes/{}", id.digest);
            let mut all = Telling {
                client: self,
                file: (&mut file).take(bytes),
                done: 0,
                bytes,
            };
            let sent = self.run("PUT", &path, SendBody::from_reader(&mut all), |request| {
                request.header(header::CONTENT_LENGTH, bytes)
            });
            return sent.map(drop);
        }
        let mut tries = Tries::of(self);
        loop {
            let error = match self.go_on(&mut file, path, id, bytes, &mut tries) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !may_pass(&error) || !tries.again_after(&error) {
                return Err(error);
            }
        }
    }

    /// Sends what the hub doesn't have yet.
    fn go_on(
        &self,
        file: &mut File,
        path: &Path,
        id: &ArtifactId,
        bytes: u64,
        tries: &mut Tries,
    ) -> Answer<()> {
        let wanted = Bytes {
            digest: id.digest,
            bytes,
        };
        let begun: UploadView = self.post(&format!("/projects/{}/uploads", id.project), &wanted)?;
        let address = format!("/uploads/{}", begun.id);
        // Asked again, because then nothing of an earlier try comes any more.
        let upload: UploadView = self.get(&address)?;
        tries.got_to(upload.offset);
        self.tell(upload.offset, bytes);
        if upload.complete {
            return Ok(());
        }
        let mut offset = upload.offset;
        let mut piece = if self.goes_in_pieces() { PIECE } else { u64::MAX };
        loop {
            file.seek(SeekFrom::Start(offset)).map_err(at(path))?;
            let count = piece.min(bytes - offset);
            let is_last = offset + count == bytes;
            let mut part = Telling {
                client: self,
                file: (&mut *file).take(count),
                done: offset,
                bytes,
            };
            let began = Instant::now();
            self.run("PATCH", &address, SendBody::from_reader(&mut part), |request| {
                request
                    .header(header::CONTENT_TYPE, "application/partial-upload")
                    .header(header::CONTENT_LENGTH, count)
                    .header("upload-offset", offset)
                    .header("upload-complete", if is_last { "?1" } else { "?0" })
            })?;
            if is_last {
                return Ok(());
            }
            offset += count;
            tries.got_to(offset);
            piece = next_piece(piece, began.elapsed());
        }
    }

    /// One's own uploads that aren't named by any command yet.
    pub fn uploads(&self) -> Answer<Vec<UploadView>> {
        self.list("/uploads", "after", |it: &UploadView| &it.id)
    }

    /// Gives an upload up.
    pub fn cancel_upload(&self, id: &str) -> Answer<()> {
        let _: serde_json::Value = self.bare("DELETE", &format!("/uploads/{id}"))?;
        Ok(())
    }

    /// Bytes in the hub's store that no record of the log names.
    pub fn leftovers(&self) -> Answer<LeftoversView> {
        self.get("/leftovers")
    }

    /// Removes them; returns what they were.
    pub fn collect(&self) -> Answer<LeftoversView> {
        self.bare("POST", "/leftovers/collect")
    }

    /// The artifact's bytes.
    pub fn fetch(&self, id: &ArtifactId) -> Answer<impl Read + use<>> {
        let response = self.run("GET", &address(id), (), |request| request)?;
        Ok(response.into_body().into_reader())
    }

    /// Puts the artifact's bytes at `path`, whole or not at all; the digest is checked. Returns their number. What has
    /// come when it breaks off lies beside, and the next time only the rest is fetched.
    pub fn save(&self, id: &ArtifactId, path: &Path) -> Answer<u64> {
        self.save_rest(id, path, PartFile::open(path, &id.digest)?)
    }

    /// The same where `part` of it is there already, wherever that came from.
    pub fn save_rest(&self, id: &ArtifactId, path: &Path, mut part: PartFile) -> Answer<u64> {
        let mut is_resumed = part.have > 0;
        let mut tries = Tries::of(self);
        while !(is_resumed && part.is_whole(&id.digest)) {
            match self.fetch_rest(id, &mut part, &mut tries) {
                Ok(()) if part.is_whole(&id.digest) => break,
                // It was begun with something else.
                Ok(()) if is_resumed => part.clear()?,
                Ok(()) => {
                    let found = part.digest();
                    part.clear()?;
                    let id = id.clone();
                    return Err(ApiError::Wrong { id, found });
                }
                Err(error) if error.status() == Some(416) && is_resumed => part.clear()?,
                Err(error) if may_pass(&error) && tries.again_after(&error) => {
                    is_resumed |= part.have > 0;
                    continue;
                }
                Err(error) => return Err(error),
            }
            is_resumed = false;
        }
        part.keep_as(path)
    }

    fn fetch_rest(&self, id: &ArtifactId, part: &mut PartFile, tries: &mut Tries) -> Answer<()> {
        let response = self.run("GET", &address(id), (), |request| match part.have {
            0 => request,
            have => request
                .header(header::RANGE, format!("bytes={have}-"))
                .header(header::IF_RANGE, format!("\"{}\"", id.digest.hex())),
        })?;
        if response.status() != 206 {
            part.clear()?;
        }
        tries.got_to(part.have);
        let rest = length(&response);
        let whole = rest.map(|rest| part.have + rest);
        let broke_off = |why| ApiError::BrokeOff { id: id.clone(), why };
        let mut from = response.into_body().into_reader();
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Err(broke_off(why)),
            };
            part.add(&buffer[..count])?;
            self.tell(part.have, whole.unwrap_or(part.have));
        }
        match whole {
            Some(whole) if part.have < whole => {
                let why = io::Error::new(io::ErrorKind::UnexpectedEof, "the hub ended it early");
                Err(broke_off(why))
            }
            _ => Ok(()),
        }
    }
}

/// After a piece that took so long.
fn next_piece(piece: u64, took: Duration) -> u64 {
    let next = match took.as_secs() {
        0 => piece * 2,
        1..3 => piece,
        _ => piece / 2,
    };
    next.clamp(*PIECES.start(), *PIECES.end())
}

fn address(id: &ArtifactId) -> String {
    format!("/projects/{}/artifacts/{}", id.project, id.digest)
}

fn length(response: &ureq::http::Response<Body>) -> Option<u64> {
    let length = response.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// A file of which a part is there, beside the one that it is to become: whoever goes on with it begins where the last one
/// came to. Only who has all of it knows that it is right.
pub struct PartFile {
    path: PathBuf,
    file: File,
    have: u64,
    hasher: blake3::Hasher,
}

impl PartFile {
    /// What is there of the file at `whole`, which is to have that digest.
    pub fn open(whole: &Path, digest: &Digest) -> Answer<Self> {
        let mut name = whole.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part", &digest.hex()[..16]));
        let path = whole.with_file_name(name);
        let mut options = OpenOptions::new();
        let opened = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        let mut hasher = blake3::Hasher::new();
        let read = opened.and_then(|file| {
            let have = io::copy(&mut BufReader::with_capacity(1 << 18, &file), &mut hasher)?;
            Ok((file, have))
        });
        let (file, have) = read.map_err(at(&path))?;
        Ok(Self {
            path,
            file,
            have,
            hasher,
        })
    }

    /// How many bytes are there.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Puts the next bytes at its end.
    pub fn add(&mut self, piece: &[u8]) -> Answer<()> {
        self.file.write_all(piece).map_err(at(&self.path))?;
        self.hasher.update(piece);
        self.have += piece.len() as u64;
        Ok(())
    }

    /// Lets go of everything.
    pub fn clear(&mut self) -> Answer<()> {
        self.shorten_to(0)
    }

    /// Lets go of what is beyond the first `bytes`.
    pub fn shorten_to(&mut self, bytes: u64) -> Answer<()> {
        // What a write that failed left behind is beyond them, too, and goes when all does.
        if bytes >= self.have && bytes > 0 {
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        let shortened = self
            .file
            .set_len(bytes)
            .and_then(|()| self.file.rewind())
            .and_then(|()| io::copy(&mut BufReader::with_capacity(1 << 18, &self.file), &mut hasher));
        self.have = shortened.map_err(at(&self.path))?;
        self.hasher = hasher;
        Ok(())
    }

    fn digest(&self) -> Digest {
        Digest(self.hasher.finalize().into())
    }

    /// Whether that is all of it.
    pub fn is_whole(&self, digest: &Digest) -> bool {
        self.digest() == *digest
    }

    /// Gives it the name of the whole; returns how many bytes it has.
    pub fn keep_as(self, path: &Path) -> Answer<u64> {
        std::fs::rename(&self.path, path).map_err(at(path))?;
        Ok(self.have)
    }
}

/// A file on its way, of which the client's listener hears.
struct Telling<'a> {
    client: &'a Client,
    file: io::Take<&'a mut File>,
    done: u64,
    bytes: u64,
}

impl Read for Telling<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done += count as u64;
        self.client.tell(self.done, self.bytes);
        Ok(count)
    }
}

/// How often nothing got through since something did.
struct Tries {
    /// Whether the hub has answered: if it never did, it isn't waited for.
    begun: bool,
    in_vain: u32,
    most: u32,
    furthest: u64,
}

impl Tries {
    fn of(client: &Client) -> Self {
        Self {
            begun: false,
            in_vain: 0,
            most: client.tries(),
            furthest: 0,
        }
    }

    fn got_to(&mut self, offset: u64) {
        self.begun = true;
        if offset > self.furthest {
            (self.furthest, self.in_vain) = (offset, 0);
        }
    }

    /// Waits before another; false if there were enough. That the hub is still at it isn't one in vain.
    fn again_after(&mut self, error: &ApiError) -> bool {
        match error {
            ApiError::Refused(no) if no.kind == "unavailable" && no.retry_after_s.is_some() => {
                let wait = no.retry_after_s.map_or(0, u64::from);
                std::thread::sleep(Duration::from_secs(wait).min(LONGEST_WAIT));
                true
            }
            _ => self.again(),
        }
    }

    fn again(&mut self) -> bool {
        if !self.begun || self.in_vain == self.most {
            return false;
        }
        std::thread::sleep((FIRST_WAIT * (1 << self.in_vain)).min(LONGEST_WAIT));
        self.in_vain += 1;
        true
    }
}

/// Whether it may go well the next time: the hub isn't there, or something lies between.
fn may_pass(error: &ApiError) -> bool {
    match error {
        ApiError::Unreachable { .. } | ApiError::Strange { .. } | ApiError::BrokeOff { .. } => true,
        ApiError::Refused(no) => matches!(
            no.kind.as_str(),
            "interrupted" | "conflict" | "mismatching-upload-offset" | "too-many-requests" | "unavailable"
        ),
        ApiError::Wrong { .. } | ApiError::File { .. } => false,
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ApiError + use<> {
    let path = path.display().to_string();
    move |why| ApiError::File { path, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_as_long_as_some_seconds_have_room_for() {
        // At so many bytes a second, with a tenth of a second there and back.
        let settled = |speed: f64| {
            let took = |piece: u64| Duration::from_secs_f64(0.1 + piece as f64 / speed);
            let last = (0..20).fold(PIECE, |piece, _| next_piece(piece, took(piece)));
            (last, took(last))
        };
        for speed in [125e3, 1.25e6, 12.5e6] {
            let (_, took) = settled(speed);
            assert!(
                (1..4).contains(&took.as_secs()),
                "{took:?} at {speed} bytes a second"
            );
        }
        assert_eq!(settled(1e10).0, *PIECES.end());
        assert_eq!(settled(1e3).0, *PIECES.start());
    }
}
