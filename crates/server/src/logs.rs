//! What batch jobs write, for the people who wait for it. It isn't in the log of events: a file of each attempt lies
//! under `logs`, and the site that runs the job adds to it.

use crate::extract::{Answer, Ask, At, Bearer, Json};
use crate::hub::Shared;
use crate::jobs::readable;
use crate::openapi::Routes;
use api::{LogPart, Problem};
use axum::body::Bytes;
use axum::extract::State;
use consortium::{Actor, JobId};
use schemars::JsonSchema;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The most of one attempt that is kept.
const MOST: u64 = 64 << 20;
/// The most in one answer.
const PART: u64 = 1 << 20;

pub(crate) fn routes() -> Routes {
    Routes::about("jobs")
        .get("/jobs/{job}/log", "What a batch job wrote", read)
        .post("/jobs/{job}/log", "Add to what a batch job wrote", write)
}

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    /// Of which attempt.
    #[serde(default)]
    attempt: u32,
    /// From which byte on.
    #[serde(default)]
    from: u64,
}

async fn read(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(wanted): Ask<Wanted>,
) -> Answer<LogPart> {
    let (attempt, ended) = {
        let state = shared.read()?;
        let job = readable(&state, &bearer.actor, job)?;
        let attempt = job.stays().last().map_or(0, |member| member.attempt);
        (attempt, !job.is_active())
    };
    let from = if wanted.attempt == attempt { wanted.from } else { 0 };
    let bytes = part(&path(&shared, job, attempt), from).map_err(|e| internal(&e))?;
    // A letter that is not whole yet comes with the next part.
    let whole = match std::str::from_utf8(&bytes) {
        Err(error) if error.error_len().is_none() && !ended => &bytes[..error.valid_up_to()],
        _ => &bytes[..],
    };
    Ok(Json(LogPart {
        attempt,
        text: String::from_utf8_lossy(whole).into_owned(),
        next: from + whole.len() as u64,
        ended,
    }))
}

/// Adds what isn't there yet, and answers with how much is.
async fn write(
    State(shared): State<Arc<Shared>>,
    bearer: Bearer,
    At(job): At<JobId>,
    Ask(wanted): Ask<Wanted>,
    bytes: Bytes,
) -> Answer<u64> {
    let Actor::Site(site) = &bearer.actor else {
        return Err(Problem::new(403, "forbidden", "only sites bring what jobs write").into());
    };
    let member = shared
        .read()?
        .jobs
        .get(&job)
        .and_then(|job| job.members.get(site))
        .cloned();
    if member.is_none_or(|member| member.attempt != wanted.attempt) {
        return Err(Problem::new(
            409,
            "conflict",
            format!("this attempt of site {site} in {job} is over"),
        )
        .into());
    }
    let path = path(&shared, job, wanted.attempt);
    Ok(Json(add(&path, wanted.from, &bytes).map_err(|e| internal(&e))?))
}

fn path(shared: &Shared, job: JobId, attempt: u32) -> PathBuf {
    shared.folder.join("logs").join(format!("{job}-{attempt}.log"))
}

fn part(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    file.seek(SeekFrom::Start(from.min(file.metadata()?.len())))?;
    let mut bytes = Vec::new();
    file.take(PART).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn add(path: &Path, from: u64, bytes: &[u8]) -> io::Result<u64> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let have = file.metadata()?.len();
    let known = usize::try_from(have.saturating_sub(from)).unwrap_or(usize::MAX);
    if have >= from && have < MOST && known < bytes.len() {
        file.write_all(&bytes[known..])?;
        return Ok(from + bytes.len() as u64);
    }
    Ok(have)
}

fn internal(error: &io::Error) -> Problem {
    Problem::new(500, "internal", format!("the log can't be kept: {error}"))
}
