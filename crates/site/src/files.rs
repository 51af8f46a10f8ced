//! Files that a job needs at a site, by their digests.

use crate::SiteError;
use api::{ApiError, Client, measure};
use consortium::ArtifactId;
use std::path::Path;

/// Makes sure that the artifact lies at `path`; returns how many bytes had to be fetched for it.
pub(crate) fn fetch(client: &Client, id: &ArtifactId, path: &Path) -> Result<u64, SiteError> {
    if measure(path).is_ok_and(|(found, _)| found == id.digest) {
        return Ok(0);
    }
    client.save(id, path).map_err(|error| match error {
        // A disk that doesn't take it is the site's own trouble, which no other try mends.
        ApiError::File { why, .. } => SiteError::File {
            path: path.to_owned(),
            why,
        },
        other => other.into(),
    })
}
