//! The log in a PostgreSQL database, and how a second hub takes it over.
//!
//! The hub that writes holds an advisory lock for as long as it is connected, and its number is the *epoch* in
//! the table `writer`. A killed hub's connection ends with it, so the lock is free at once. A hub that is
//! paused, or cut off, keeps lock and connection; when it has shown no life for [`STALE`], whoever stands by
//! has the server end that connection. Either way the new writer counts the epoch up before it reads the log,
//! and every transaction of a writer first asks for its own epoch: what an old one still has in hand is
//! refused, whenever it comes.

use crate::database::{Access, Database, FORMAT, RawPosting, RawRecord, RawSnapshot, check_format};
use crate::error::Fault;
use crate::log::Row;
use crate::points::{RawLast, RawPlace, RawPoint};
use crate::{Posting, StoreError, points, postings};
use postgres::types::ToSql;
use postgres::{Client, Config, NoTls};
use std::time::{Duration, Instant};

/// How long a writer may show no life until whoever stands by ends its connection.
const STALE: Duration = Duration::from_secs(4);
/// How often a writer without work shows that it lives.
const ALIVE: Duration = Duration::from_secs(1);
/// "khub", so that other programs' advisory locks don't meet ours; the second half is the schema's.
const LOCK: i32 = 0x6b68_7562;

/// The same tables as in SQLite, and the writer's epoch. They lie in the first schema of the search path.
const TABLES: &str = "
BEGIN;
CREATE TABLE meta (key text PRIMARY KEY, value bigint NOT NULL);
INSERT INTO meta VALUES ('format', 1);
CREATE TABLE log (
    seq    bigint PRIMARY KEY,
    at     bigint NOT NULL,
    actor  text NOT NULL,
    events text NOT NULL,
    hash   bytea NOT NULL
);
CREATE TABLE postings (
    seq     bigint NOT NULL REFERENCES log (seq),
    n       bigint NOT NULL,
    at      bigint NOT NULL,
    job     bigint,
    account text NOT NULL,
    won     bigint NOT NULL,
    compute text NOT NULL,
    PRIMARY KEY (seq, n)
);
CREATE INDEX postings_of_job ON postings (job, seq, n);
CREATE TABLE snapshot (
    seq    bigint PRIMARY KEY,
    khub   text NOT NULL,
    state  text NOT NULL,
    digest bytea NOT NULL
);
CREATE TABLE writer (epoch bigint NOT NULL, heard timestamptz NOT NULL);
INSERT INTO writer VALUES (0, clock_timestamp());
COMMIT;
";

/// What runs have measured, as in SQLite. Databases of older versions get these tables when a hub opens them.
const POINTS: &str = "
CREATE TABLE IF NOT EXISTS points (
    run   text NOT NULL,
    key   text NOT NULL,
    step  bigint NOT NULL,
    at    bigint NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (run, key, step, at, value)
);
CREATE TABLE IF NOT EXISTS measured (
    run    text NOT NULL,
    key    text NOT NULL,
    points bigint NOT NULL,
    step   bigint NOT NULL,
    at     bigint NOT NULL,
    value  bigint NOT NULL,
    PRIMARY KEY (run, key)
);
";

/// A connection.
pub(crate) struct Postgres {
    client: Client,
    place: String,
    /// Whether it has the writer's lock.
    holds: bool,
    /// The writer's number; none for a reader.
    epoch: Option<i64>,
    shown: Instant,
}

impl Postgres {
    /// For the one hub that writes; makes the tables if there are none.
    pub(crate) fn open_to_write(url: &str) -> Result<Self, StoreError> {
        let mut db = Self::connect(url)?;
        let claimed = db.claim();
        match claimed.map_err(|fault| fault.at(&db.place))? {
            true => {}
            false => {
                let place = db.place.clone();
                return Err(StoreError::Busy { place });
            }
        }
        let format = db.format().map_err(|fault| fault.at(&db.place))?;
        check_format(&db.place, format.unwrap_or(FORMAT))?;
        let prepared = db.prepare(format.is_none());
        prepared.map_err(|fault| fault.at(&db.place))?;
        Ok(db)
    }

    pub(crate) fn open_to_read(url: &str) -> Result<Self, StoreError> {
        let mut db = Self::connect(url)?;
        let format = db.format().map_err(|fault| fault.at(&db.place))?;
        let format = format.ok_or_else(|| StoreError::Missing {
            place: db.place.clone(),
        })?;
        check_format(&db.place, format)?;
        Ok(db)
    }

    fn connect(url: &str) -> Result<Self, StoreError> {
        let place = without_password(url);
        let failed = |error: postgres::Error| Fault::from(error).at(&place);
        let mut config: Config = url.parse().map_err(failed)?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(10));
        }
        if config.get_application_name().is_none() {
            config.application_name("khub");
        }
        Ok(Self {
            client: config.connect(NoTls).map_err(failed)?,
            place,
            holds: false,
            epoch: None,
            shown: Instant::now(),
        })
    }

    /// Takes the lock; if a writer that shows no life has it, ends that writer's connection, so that the next
    /// try succeeds.
    fn claim(&mut self) -> Result<bool, Fault> {
        let lock = "SELECT pg_try_advisory_lock($1, hashtext(current_schema()))";
        self.holds = self.client.query_one(lock, &[&LOCK])?.get(0);
        if self.holds {
            return Ok(true);
        }
        if self.has_table("writer")? {
            let end = "SELECT pg_terminate_backend(pid) FROM pg_locks, writer
                 WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid::bigint = $1::int
                   AND objid::bigint = hashtext(current_schema())::bigint & 4294967295
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                   AND heard < clock_timestamp() - make_interval(secs => $2)";
            self.client.execute(end, &[&LOCK, &STALE.as_secs_f64()])?;
        }
        Ok(false)
    }

    fn prepare(&mut self, empty: bool) -> Result<(), Fault> {
        let encoding: String = self.client.query_one("SHOW server_encoding", &[])?.get(0);
        if encoding != "UTF8" {
            let why =
                format!("the database keeps text as {encoding}; khub needs one made with ENCODING 'UTF8'");
            return Err(Fault::Refused(why));
        }
        let commit: String = self.client.query_one("SHOW synchronous_commit", &[])?.get(0);
        if commit == "off" {
            // A commit is on the disk when it returns. Stricter settings are the administrator's to make.
            self.client.batch_execute("SET synchronous_commit = on")?;
        }
        if empty {
            self.client.batch_execute(TABLES)?;
        }
        if !self.has_table("measured")? {
            self.client.batch_execute(POINTS)?;
        }
        let next = "UPDATE writer SET epoch = epoch + 1, heard = clock_timestamp() RETURNING epoch";
        self.epoch = Some(self.client.query_one(next, &[])?.get(0));
        Ok(())
    }

    /// The format number, or none if nothing was ever written.
    fn format(&mut self) -> Result<Option<i64>, Fault> {
        if self.has_table("meta")? {
            let row = self
                .client
                .query_opt("SELECT value FROM meta WHERE key = 'format'", &[])?;
            let row = row.ok_or_else(|| Fault::damaged("its table meta has no format number"))?;
            return Ok(Some(row.get(0)));
        }
        if self.has_table("log")? {
            return Err(Fault::damaged("it has a table log, but not one that khub wrote"));
        }
        Ok(None)
    }

    fn has_table(&mut self, name: &str) -> Result<bool, Fault> {
        let sql = "SELECT count(*) > 0 FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1";
        Ok(self.client.query_one(sql, &[&name])?.get(0))
    }

    fn execute(&mut self, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Fault> {
        Ok(self.client.execute(sql, values)?)
    }
}

impl Database for Postgres {
    fn place(&self) -> &str {
        &self.place
    }

    fn begin(&mut self, access: Access) -> Result<(), Fault> {
        if access == Access::Read {
            return Ok(self
                .client
                .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?);
        }
        self.client.batch_execute("BEGIN")?;
        // Whoever takes over waits for this row until the transaction ends.
        let mine = "UPDATE writer SET heard = clock_timestamp() WHERE epoch = $1";
        let epoch = self.epoch;
        if self.execute(mine, &[&epoch])? == 1 {
            self.shown = Instant::now();
            return Ok(());
        }
        let _ = self.end(false);
        Err(Fault::Refused(
            "another hub has taken over and writes now".to_owned(),
        ))
    }

    fn end(&mut self, keep: bool) -> Result<(), Fault> {
        Ok(self
            .client
            .batch_execute(if keep { "COMMIT" } else { "ROLLBACK" })?)
    }

    fn records(&mut self, from: i64, limit: i64) -> Result<Vec<Result<RawRecord, String>>, Fault> {
        let sql = "SELECT seq, at, actor, events, hash FROM log WHERE seq >= $1 ORDER BY seq LIMIT $2";
        let rows = self.client.query(sql, &[&from, &limit])?;
        let read = |row: postgres::Row| RawRecord {
            seq: row.get(0),
            at: row.get(1),
            actor: row.get(2),
            events: row.get(3),
            hash: row.get(4),
        };
        Ok(rows.into_iter().map(|row| Ok(read(row))).collect())
    }

    fn hash_of(&mut self, seq: i64) -> Result<Option<Vec<u8>>, Fault> {
        let row = self
            .client
            .query_opt("SELECT hash FROM log WHERE seq = $1", &[&seq])?;
        Ok(row.map(|row| row.get(0)))
    }

    fn add_records(&mut self, rows: &[Row]) -> Result<(), Fault> {
        let seqs: Vec<i64> = rows.iter().map(|row| row.head.seq.cast_signed()).collect();
        let ats: Vec<i64> = rows.iter().map(|row| row.at.0.cast_signed()).collect();
        let actors: Vec<&str> = rows.iter().map(|row| row.actor.as_str()).collect();
        let events: Vec<&str> = rows.iter().map(|row| row.events.as_str()).collect();
        let hashes: Vec<&[u8]> = rows.iter().map(|row| row.head.hash.0.as_slice()).collect();
        let sql = "INSERT INTO log (seq, at, actor, events, hash)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bytea[])";
        self.execute(sql, &[&seqs, &ats, &actors, &events, &hashes])
            .map(drop)
    }

    fn postings(
        &mut self,
        after: (i64, i64),
        limit: i64,
        job: Option<i64>,
    ) -> Result<Vec<RawPosting>, Fault> {
        let rows = match job {
            None => {
                let sql = "SELECT seq, n, at, job, account, won, compute FROM postings
                     WHERE (seq, n) > ($1, $2) ORDER BY seq, n LIMIT $3";
                self.client.query(sql, &[&after.0, &after.1, &limit])?
            }
            Some(job) => {
                let sql = "SELECT seq, n, at, job, account, won, compute FROM postings
                     WHERE job = $4 AND (seq, n) > ($1, $2) ORDER BY seq, n LIMIT $3";
                self.client.query(sql, &[&after.0, &after.1, &limit, &job])?
            }
        };
        let read = |row: &postgres::Row| RawPosting {
            seq: row.get(0),
            n: row.get(1),
            at: row.get(2),
            job: row.get(3),
            account: row.get(4),
            won: row.get(5),
            compute: row.get(6),
        };
        Ok(rows.iter().map(read).collect())
    }

    fn add_postings(&mut self, postings: &[Posting]) -> Result<(), Fault> {
        if postings.is_empty() {
            return Ok(());
        }
        let ns: Vec<i64> = postings::counted(postings).map(|(n, _)| n).collect();
        let column = |of: fn(&Posting) -> i64| postings.iter().map(of).collect::<Vec<i64>>();
        let seqs = column(|posting| posting.seq.cast_signed());
        let ats = column(|posting| posting.at.0.cast_signed());
        let won = column(|posting| posting.won.0);
        let job = |posting: &Posting| posting.job.map(|job| job.0.cast_signed());
        let jobs: Vec<Option<i64>> = postings.iter().map(job).collect();
        let accounts: Vec<String> = postings.iter().map(|it| it.account.to_string()).collect();
        let compute: Vec<String> = postings.iter().map(|it| it.compute.0.to_string()).collect();
        let sql = "INSERT INTO postings (seq, n, at, job, account, won, compute)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[],
                                  $6::bigint[], $7::text[])";
        self.execute(sql, &[&seqs, &ns, &ats, &jobs, &accounts, &won, &compute])
            .map(drop)
    }

    fn clear_postings(&mut self) -> Result<(), Fault> {
        self.execute("DELETE FROM postings", &[]).map(drop)
    }

    fn add_points(&mut self, points: &[RawPoint]) -> Result<(), Fault> {
        if points.is_empty() {
            return Ok(());
        }
        let column =
            |of: fn(&RawPlace) -> i64, places: &[RawPlace]| places.iter().map(of).collect::<Vec<i64>>();
        let columns = |places: &[RawPlace]| {
            let of: [fn(&RawPlace) -> i64; 3] = [|it| it.0, |it| it.1, |it| it.2];
            of.map(|of| column(of, places))
        };
        let runs: Vec<&str> = points.iter().map(|point| point.run.as_str()).collect();
        let keys: Vec<&str> = points.iter().map(|point| point.key.as_str()).collect();
        let places: Vec<RawPlace> = points.iter().map(|point| point.place).collect();
        let [steps, ats, values] = columns(&places);
        let newest = points::newest(points);
        let last_runs: Vec<&str> = newest.keys().map(|(run, _)| *run).collect();
        let last_keys: Vec<&str> = newest.keys().map(|(_, key)| *key).collect();
        let last_places: Vec<RawPlace> = newest.values().copied().collect();
        let [last_steps, last_ats, last_values] = columns(&last_places);
        let sql = "WITH added AS (
                 INSERT INTO points (run, key, step, at, value)
                 SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
                 ON CONFLICT DO NOTHING RETURNING run, key
             ), counted AS (SELECT run, key, count(*) AS new FROM added GROUP BY run, key)
             INSERT INTO measured AS m (run, key, points, step, at, value)
             SELECT l.run, l.key, coalesce(c.new, 0), l.step, l.at, l.value
             FROM unnest($6::text[], $7::text[], $8::bigint[], $9::bigint[], $10::bigint[])
                  AS l (run, key, step, at, value)
             LEFT JOIN counted c ON c.run = l.run AND c.key = l.key
             ON CONFLICT (run, key) DO UPDATE SET points = m.points + excluded.points,
                 (step, at, value) = (SELECT step, at, value FROM (VALUES (m.step, m.at, m.value),
                      (excluded.step, excluded.at, excluded.value)) AS v (step, at, value)
                      ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1)";
        let last: [&(dyn ToSql + Sync); 5] = [&last_runs, &last_keys, &last_steps, &last_ats, &last_values];
        let all: [&(dyn ToSql + Sync); 5] = [&runs, &keys, &steps, &ats, &values];
        self.execute(sql, &[all, last].concat()).map(drop)
    }

    fn points(
        &mut self,
        run: &str,
        key: &str,
        after: Option<RawPlace>,
        limit: i64,
    ) -> Result<Vec<RawPlace>, Fault> {
        if !self.has_table("measured")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT step, at, value FROM points
             WHERE run = $1 AND key = $2 AND ($3 OR (step, at, value) > ($4, $5, $6)) ORDER BY step, at, value LIMIT $7";
        let (all, (step, at, value)) = (after.is_none(), after.unwrap_or_default());
        let rows = self
            .client
            .query(sql, &[&run, &key, &all, &step, &at, &value, &limit])?;
        Ok(rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect())
    }

    fn all_points(&mut self, after: Option<&RawPoint>, limit: i64) -> Result<Vec<RawPoint>, Fault> {
        if !self.has_table("measured")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT run, key, step, at, value FROM points
             WHERE (run, key, step, at, value) > ($1, $2, $3, $4, $5) ORDER BY run, key, step, at, value LIMIT $6";
        // No run has an empty name.
        let (run, key, (step, at, value)) =
            after.map_or(("", "", RawPlace::default()), |it| (&it.run, &it.key, it.place));
        let rows = self
            .client
            .query(sql, &[&run, &key, &step, &at, &value, &limit])?;
        let read = |row: &postgres::Row| RawPoint {
            run: row.get(0),
            key: row.get(1),
            place: (row.get(2), row.get(3), row.get(4)),
        };
        Ok(rows.iter().map(read).collect())
    }

    fn last_points(&mut self, runs: &[String], keys: Option<&[String]>) -> Result<Vec<RawLast>, Fault> {
        if !self.has_table("measured")? {
            return Ok(Vec::new());
        }
        let sql = "SELECT run, key, points, step, at, value FROM measured
             WHERE run = ANY($1) AND ($2 OR key = ANY($3))";
        let (all, keys) = (keys.is_none(), keys.unwrap_or_default());
        let rows = self.client.query(sql, &[&runs, &all, &keys])?;
        let read = |row: &postgres::Row| RawLast {
            run: row.get(0),
            key: row.get(1),
            points: row.get(2),
            place: (row.get(3), row.get(4), row.get(5)),
        };
        Ok(rows.iter().map(read).collect())
    }

    fn count_points(&mut self) -> Result<Vec<(String, i64)>, Fault> {
        let sql = "SELECT run, sum(points)::bigint FROM measured GROUP BY run";
        let rows = self.client.query(sql, &[])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn snapshot(&mut self) -> Result<Option<RawSnapshot>, Fault> {
        let sql = "SELECT seq, khub, state, digest FROM snapshot ORDER BY seq DESC LIMIT 1";
        let row = self.client.query_opt(sql, &[])?;
        Ok(row.map(|row| RawSnapshot {
            seq: row.get(0),
            khub: row.get(1),
            state: row.get(2),
            digest: row.get(3),
        }))
    }

    fn replace_snapshot(&mut self, snapshot: &RawSnapshot) -> Result<(), Fault> {
        self.execute("DELETE FROM snapshot", &[])?;
        let RawSnapshot {
            seq,
            khub,
            state,
            digest,
        } = snapshot;
        let sql = "INSERT INTO snapshot (seq, khub, state, digest) VALUES ($1, $2, $3, $4)";
        self.execute(sql, &[seq, khub, state, digest]).map(drop)
    }

    fn keep_alive(&mut self) -> Result<(), Fault> {
        if self.shown.elapsed() < ALIVE {
            return Ok(());
        }
        self.begin(Access::Write)?;
        self.end(true)
    }
}

impl Drop for Postgres {
    /// The server sees only after a while that a connection is gone, and who opens the database right after this one would
    /// be told that it is busy.
    fn drop(&mut self) {
        if self.holds {
            let unlock = "SELECT pg_advisory_unlock($1, hashtext(current_schema()))";
            let _ = self.client.execute(unlock, &[&LOCK]);
        }
    }
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postgres({}, epoch {:?})", self.place, self.epoch)
    }
}

impl From<postgres::Error> for Fault {
    /// The statements here are fixed, so a table or a column that doesn't fit them is the database's fault.
    fn from(error: postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            return Self::Refused(format!("{error}{}", source.unwrap_or_default()));
        };
        let text = format!("{} (SQLSTATE {})", told.message(), told.code().code());
        // 22 data, 23 integrity, 42 names that aren't there; XX001 and XX002 are corrupted data and index.
        let damaged = ["22", "23", "42P01", "42703", "XX00"];
        if damaged.iter().any(|class| told.code().code().starts_with(class)) {
            Self::Damaged(text)
        } else {
            Self::Refused(text)
        }
    }
}

/// The connection string as it may be shown.
pub(crate) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (address, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
    let address = match address.rsplit_once('@') {
        Some((user, host)) => {
            let name = user.split_once(':').map_or(user, |(name, _)| name);
            format!("{name}@{host}")
        }
        None => address.to_owned(),
    };
    let shown = query.into_iter().flat_map(|query| query.split('&'));
    let shown: Vec<&str> = shown.filter(|part| !part.starts_with("password")).collect();
    let question = if shown.is_empty() { "" } else { "?" };
    format!("{scheme}://{address}{question}{}", shown.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgresql://khub:secret@db/khub", "postgresql://khub@db/khub"),
            (
                "postgresql://khub:a@b@db:5433/khub?sslmode=disable",
                "postgresql://khub@db:5433/khub?sslmode=disable",
            ),
            (
                "postgres:///khub?host=/run&password=secret",
                "postgres:///khub?host=/run",
            ),
            ("postgres://db/khub?password=secret", "postgres://db/khub"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
