//! Files that a job needs at a site, by their digests.

use crate::SiteError;
use api::{ApiError, Client};
use consortium::{ArtifactId, Digest};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

/// Whether the file at `path` has `digest`.
pub(crate) fn has(path: &Path, digest: Digest) -> bool {
    measure(path).is_ok_and(|(found, _)| found == digest)
}

/// The digest and the size of the file at `path`.
pub(crate) fn measure(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(
        &mut BufReader::with_capacity(1 << 18, File::open(path)?),
        &mut hasher,
    )?;
    Ok((Digest(hasher.finalize().into()), bytes))
}

/// Makes sure that the artifact lies at `path`; returns how many bytes had to be fetched for it.
pub(crate) fn fetch(client: &Client, id: &ArtifactId, path: &Path) -> Result<u64, SiteError> {
    if has(path, id.digest) {
        return Ok(0);
    }
    let failed = |why| SiteError::File {
        path: path.to_owned(),
        why,
    };
    let part = path.with_extension("part");
    let mut from = client.fetch(id)?;
    let mut to = File::create(&part).map_err(failed)?;
    let broke_off = |why: io::Error| ApiError::Unreachable {
        url: id.to_string(),
        why: why.to_string(),
    };
    io::copy(&mut from, &mut to).map_err(broke_off)?;
    let (found, bytes) = measure(&part).map_err(failed)?;
    if found != id.digest {
        let why = format!("its bytes have digest {found}");
        return Err(ApiError::Strange {
            url: id.to_string(),
            why,
        }
        .into());
    }
    fs::rename(&part, path).map_err(failed)?;
    Ok(bytes)
}
