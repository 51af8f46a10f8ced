//! Who has brought which bytes. Only who has shown them may have a command name them: otherwise whoever learned a
//! digest could have a restricted artifact's bytes under a label of their own. And what is here isn't collected.

use crate::desk;
use api::Problem;
use consortium::{Actor, ArtifactId, Digest, Request, State, Time};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use store::{Hold, Uploads, Wanted};

/// For how long bytes wait to be named that came in one request, milliseconds.
const WAITS_FOR: u64 = 24 * 3_600_000;

/// What every account has brought of late.
#[derive(Default)]
pub(crate) struct Custody(Mutex<BTreeMap<(String, Digest), Brought>>);

struct Brought {
    hold: Hold,
    until: Time,
    /// Whether a record of the log names them.
    is_named: bool,
}

impl Custody {
    /// With the uploads that were complete before the hub stopped.
    pub(crate) fn of(uploads: &Uploads, state: &State) -> Self {
        let custody = Self::default();
        for (upload, hold) in uploads.complete() {
            let Wanted {
                account,
                project,
                digest,
                ..
            } = upload.wanted().clone();
            let is_named = state.artifacts.contains_key(&ArtifactId { project, digest });
            custody.note_until(account, hold, upload.expires(), is_named);
        }
        custody
    }

    /// `account` has brought what `hold` is of, in one request.
    pub(crate) fn note(&self, account: String, hold: Hold, now: Time) {
        self.note_until(account, hold, now.plus(WAITS_FOR), false);
    }

    /// The same until some time.
    pub(crate) fn note_until(&self, account: String, hold: Hold, until: Time, is_named: bool) {
        let mut all = self.lock();
        let brought = all.entry((account, hold.digest())).or_insert(Brought {
            hold,
            until,
            is_named,
        });
        brought.until = brought.until.max(until);
        brought.is_named |= is_named;
    }

    /// Holds of all bytes that the request would have the log name, if its actor has brought them: as many as it
    /// says.
    pub(crate) fn holds_for(&self, request: &Request) -> Result<Vec<Hold>, Problem> {
        let invalid = |detail| Problem::new(422, "not-uploaded", detail);
        let named = desk::bytes_named_by(&request.command);
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let (all, account) = (self.lock(), request.actor.to_string());
        let hold = |(digest, bytes): &(Digest, u64)| match all.get(&(account.clone(), *digest)) {
            Some(Brought { hold, .. }) if hold.bytes() == *bytes => Ok(hold.clone()),
            Some(Brought { hold, .. }) => Err(invalid(format!(
                "{digest} has {} bytes, not {bytes}",
                hold.bytes()
            ))),
            None => {
                let hint = format!("PUT them at /api/v1/bytes/{digest} first, then ask again");
                let detail = format!("the hub has no bytes of {digest} from {}", request.actor);
                Err(invalid(detail).hint(hint))
            }
        };
        named.iter().map(hold).collect()
    }

    /// The log names these now.
    pub(crate) fn note_named(&self, actor: &Actor, digests: &[Digest]) {
        let (mut all, account) = (self.lock(), actor.to_string());
        for digest in digests {
            if let Some(brought) = all.get_mut(&(account.clone(), *digest)) {
                brought.is_named = true;
            }
        }
    }

    /// How many bytes the account has brought that nothing names, besides those of `digest`, which may come again.
    pub(crate) fn unnamed(&self, account: &str, digest: Option<Digest>) -> u64 {
        let from = (account.to_owned(), Digest([0; 32]));
        let all = self.lock();
        let own = all.range(from..).take_while(|((other, _), _)| other == account);
        let unnamed = own.filter(|((_, other), brought)| !brought.is_named && Some(*other) != digest);
        unnamed.map(|(_, brought)| brought.hold.bytes()).sum()
    }

    /// What waits for too long isn't kept any more.
    pub(crate) fn expire(&self, now: Time) {
        self.lock().retain(|_, brought| brought.until > now);
    }

    /// Every section is a few plain statements; the holds' own lock is taken within this one, never the other way round.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, Digest), Brought>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
