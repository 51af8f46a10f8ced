//! The ledger's lines as a table, so that they can be listed without replaying the log. Made from the log;
//! kept in the same transaction.

use crate::error::Fault;
use consortium::{Account, Event, FlopSeconds, JobId, Time, Transfer, Won};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row, params};

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

/// Adds the postings of one record, within the caller's transaction.
pub(crate) fn insert(db: &Connection, postings: impl Iterator<Item = Posting>) -> Result<(), Fault> {
    let sql = "INSERT INTO postings (seq, n, at, job, account, won, compute) VALUES (?, ?, ?, ?, ?, ?, ?)";
    let mut insert = db.prepare(sql)?;
    for (n, posting) in (0i64..).zip(postings) {
        let Posting {
            seq,
            at,
            job,
            account,
            won,
            compute,
        } = posting;
        let (seq, at, job) = (
            seq.cast_signed(),
            at.0.cast_signed(),
            job.map(|job| job.0.cast_signed()),
        );
        insert.execute(params![
            seq,
            n,
            at,
            job,
            account.to_string(),
            won.0,
            compute.0.to_string()
        ])?;
    }
    Ok(())
}

/// All postings, in the order of the log; rows for [`read`].
pub(crate) const ALL: &str = "SELECT seq, at, job, account, won, compute FROM postings ORDER BY seq, n";
/// The postings of one job.
pub(crate) const OF_JOB: &str =
    "SELECT seq, at, job, account, won, compute FROM postings WHERE job = ? ORDER BY seq, n";

/// A row of [`ALL`] or [`OF_JOB`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Posting> {
    let text = |column| row.get::<_, String>(column);
    let wrong = |column, why: String| Error::FromSqlConversionFailure(column, Type::Text, why.into());
    Ok(Posting {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        at: Time(row.get::<_, i64>(1)?.cast_unsigned()),
        job: row
            .get::<_, Option<i64>>(2)?
            .map(|job| JobId(job.cast_unsigned())),
        account: Account::try_from(text(3)?).map_err(|why| wrong(3, why))?,
        won: Won(row.get(4)?),
        compute: FlopSeconds::try_from(text(5)?).map_err(|why| wrong(5, why))?,
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
