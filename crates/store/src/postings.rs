//! The ledger's lines as a table, so that they can be listed without replaying the log. Made from the log;
//! kept in the same transaction.

use crate::database::{Database, RawPosting};
use crate::error::Fault;
use consortium::{Account, Event, FlopSeconds, JobId, Time, Transfer, Won};

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posting {
    /// The log's record that it is in.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// The job that it was for: both lines of a transfer from or to what is reserved for a job are the job's.
    pub job: Option<JobId>,
    /// Whose account.
    pub account: Account,
    /// Money, to (above zero) or from it.
    pub won: Won,
    /// Compute, to (above zero) or from it.
    pub compute: FlopSeconds,
}

/// The postings of one record, in order.
pub(crate) fn of_events(seq: u64, at: Time, events: &[Event]) -> impl Iterator<Item = Posting> {
    let transfers = events.iter().filter_map(|event| match event {
        Event::Posted(transfer) => Some(transfer),
        _ => None,
    });
    transfers.flat_map(move |transfer| {
        let job = job_of(transfer);
        transfer.postings().map(|(account, won, compute)| {
            let account = account.clone();
            Posting {
                seq,
                at,
                job,
                account,
                won,
                compute,
            }
        })
    })
}

/// Each posting with its place among those of its record, which lie together.
pub(crate) fn counted(postings: &[Posting]) -> impl Iterator<Item = (i64, &Posting)> {
    let mut last = (0, 0);
    postings.iter().map(move |posting| {
        last = match last {
            (seq, n) if seq == posting.seq => (seq, n + 1),
            _ => (posting.seq, 0),
        };
        (last.1, posting)
    })
}

/// All postings in the order of the log, or those of one job, read page by page.
pub(crate) struct Pages {
    job: Option<JobId>,
    after: (i64, i64),
    page: std::vec::IntoIter<RawPosting>,
    last: bool,
}

impl Pages {
    pub(crate) fn new(job: Option<JobId>) -> Self {
        Self {
            job,
            after: (i64::MIN, i64::MIN),
            page: Vec::new().into_iter(),
            last: false,
        }
    }

    pub(crate) fn next(&mut self, db: &mut dyn Database) -> Option<Result<Posting, Fault>> {
        if self.page.len() == 0 && !self.last {
            let job = self.job.map(|job| job.0.cast_signed());
            let page = match db.postings(self.after, PAGE, job) {
                Ok(page) => page,
                Err(fault) => {
                    self.last = true;
                    return Some(Err(fault));
                }
            };
            self.last = (page.len() as i64) < PAGE;
            self.page = page.into_iter();
        }
        let raw = self.page.next()?;
        self.after = (raw.seq, raw.n);
        Some(read(raw).map_err(Fault::Damaged))
    }
}

/// How many postings are read at once.
const PAGE: i64 = 4_000;

fn read(raw: RawPosting) -> Result<Posting, String> {
    Ok(Posting {
        seq: raw.seq.cast_unsigned(),
        at: Time(raw.at.cast_unsigned()),
        job: raw.job.map(|job| JobId(job.cast_unsigned())),
        account: Account::try_from(raw.account)?,
        won: Won(raw.won),
        compute: FlopSeconds::try_from(raw.compute)?,
    })
}

fn job_of(transfer: &Transfer) -> Option<JobId> {
    [&transfer.from, &transfer.to]
        .into_iter()
        .find_map(|account| match account {
            Account::Reserved(job, _) => Some(*job),
            _ => None,
        })
}
