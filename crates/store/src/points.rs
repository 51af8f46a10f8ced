//! Points: what runs have measured. They are many and small, so they aren't events: the state, which is made from the
//! log and held in memory, would grow by every step of every training, and so would each start of the hub. They lie
//! in tables beside the log and are committed by its writer, in its transactions. So what was answered is there after
//! a kill, a writer whose time is over is refused (see `postgres.rs`), and a backup has log and points of one moment.
//! The chain of the log doesn't cover them.
//!
//! `points` has each once, by run, name, step, time and value, so that what is sent again changes nothing; `measured`
//! has how many there are of each name, and the one with the largest step.
//!
//! ```
//! use store::{Measured, Point, Reader, Store};
//! let dir = std::env::temp_dir().join(format!("khub-points-example-{}", std::process::id()));
//! let (mut store, _state) = Store::open(&dir)?;
//! let run: consortium::RunId = "0123456789abcdef0123456789abcdef".parse().unwrap();
//! let at = |step, value| Measured { run, key: "loss".into(), point: Point { step, at: 0, value } };
//! store.append_with(&[], &[at(1, 0.5), at(2, f64::NAN)])?;
//! store.append_with(&[], &[at(1, 0.5)])?; // the same again
//!
//! let reader = Reader::open(&dir)?;
//! assert_eq!(reader.history(run, "loss", None, 10)?.len(), 2);
//! let last = &reader.last_points(&[run], None)?[&run][0];
//! assert!(last.point.step == 2 && last.point.value.is_nan() && last.points == 2);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::database::{Access, Database, transact};
use crate::error::Fault;
use consortium::{Digest, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};

/// A number at a step and a time.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// How far the run was.
    pub step: i64,
    /// When, milliseconds since 1970-01-01 UTC by the program's clock.
    pub at: i64,
    /// Any number, also none (NaN) and endless ones.
    pub value: f64,
}

/// A point of a run under a name.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Whose.
    pub run: RunId,
    /// Of what: `loss`, `system/cpu`.
    pub key: String,
    /// The point.
    pub point: Point,
}

/// The newest of all that a run has measured under a name.
#[derive(Debug, Clone)]
pub struct Last {
    /// Of what.
    pub key: String,
    /// How many points there are.
    pub points: u64,
    /// The one with the largest step, and of several the latest.
    pub point: Point,
}

/// A point's columns. Databases don't agree on what NaN is, so a value is kept as its 64 bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RawPoint {
    pub(crate) run: String,
    pub(crate) key: String,
    pub(crate) place: RawPlace,
}

/// Step, time and value: the order of a history, and its name in it.
pub(crate) type RawPlace = (i64, i64, i64);

/// The newest of a name.
#[derive(Debug)]
pub(crate) struct RawLast {
    pub(crate) run: String,
    pub(crate) key: String,
    pub(crate) points: i64,
    pub(crate) place: RawPlace,
}

impl Point {
    pub(crate) fn raw(&self) -> RawPlace {
        (self.step, self.at, self.value.to_bits().cast_signed())
    }

    fn of((step, at, value): RawPlace) -> Self {
        let value = f64::from_bits(value.cast_unsigned());
        Self { step, at, value }
    }
}

/// The same to the last bit.
impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.raw() == other.raw()
    }
}

impl Measured {
    pub(crate) fn raw(&self) -> RawPoint {
        RawPoint {
            run: self.run.to_string(),
            key: self.key.clone(),
            place: self.point.raw(),
        }
    }
}

/// Of some points, each once, and the newest of each name.
pub(crate) fn newest(points: &[RawPoint]) -> BTreeMap<(&str, &str), RawPlace> {
    let mut newest = BTreeMap::new();
    for point in points {
        let place = newest
            .entry((point.run.as_str(), point.key.as_str()))
            .or_insert(point.place);
        *place = (*place).max(point.place);
    }
    newest
}

pub(crate) fn last_points(
    db: &mut dyn Database,
    runs: &[RunId],
    keys: Option<&[String]>,
) -> Result<BTreeMap<RunId, Vec<Last>>, Fault> {
    let names: Vec<String> = runs.iter().map(ToString::to_string).collect();
    let mut all: BTreeMap<RunId, Vec<Last>> = BTreeMap::new();
    for raw in db.last_points(&names, keys)? {
        let wrong = |_| Fault::damaged(format!("a point is of {:?}, which names no run", raw.run));
        let run: RunId = raw.run.parse().map_err(wrong)?;
        all.entry(run).or_default().push(Last {
            key: raw.key,
            points: raw.points.cast_unsigned(),
            point: Point::of(raw.place),
        });
    }
    for of_run in all.values_mut() {
        of_run.sort_by(|a, b| a.key.cmp(&b.key));
    }
    Ok(all)
}

pub(crate) fn history(
    db: &mut dyn Database,
    run: RunId,
    key: &str,
    after: Option<Point>,
    limit: usize,
) -> Result<Vec<Point>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let places = db.points(&run.to_string(), key, after.map(|after| after.raw()), limit)?;
    Ok(places.into_iter().map(Point::of).collect())
}

/// How many points each run has.
pub(crate) fn counts(db: &mut dyn Database) -> Result<BTreeMap<RunId, u64>, Fault> {
    let counted = db.count_points()?.into_iter();
    let counted = counted.filter_map(|(run, points)| Some((run.parse().ok()?, points.cast_unsigned())));
    Ok(counted.collect())
}

// ---- in a backup ---------------------------------------------------------------------------------------

/// How many points a line of a backup has at most, and how many go into the database at once.
const PAGE: usize = 1_000;

/// The points in a backup: a line of JSON for up to a thousand of one run and name, and a last line that says how many
/// there were, so that a file that was cut short is told from a whole one.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Of {
        run: RunId,
        key: String,
        points: Vec<RawPlace>,
    },
    End {
        khub_points: u64,
        digest: Digest,
    },
}

/// Writes all points to `out`, and tells how many there are.
pub(crate) fn write_all(
    db: &mut dyn Database,
    out: &mut dyn Write,
    failed: impl Fn(std::io::Error) -> Fault,
) -> Result<u64, Fault> {
    let (mut count, mut hasher) = (0, blake3::Hasher::new());
    let mut last: Option<RawPoint> = None;
    loop {
        let page = db.all_points(last.as_ref(), PAGE as i64)?;
        for of_one in page.chunk_by(|a, b| a.run == b.run && a.key == b.key) {
            let wrong = |_| Fault::damaged(format!("a point is of {:?}, which names no run", of_one[0].run));
            let line = Line::Of {
                run: of_one[0].run.parse().map_err(wrong)?,
                key: of_one[0].key.clone(),
                points: of_one.iter().map(|point| point.place).collect(),
            };
            let line = json(&line);
            hasher.update(line.as_bytes());
            writeln!(out, "{line}").map_err(&failed)?;
        }
        count += page.len() as u64;
        match page.into_iter().next_back() {
            Some(end) => last = Some(end),
            None => break,
        }
    }
    let end = Line::End {
        khub_points: count,
        digest: Digest(hasher.finalize().into()),
    };
    writeln!(out, "{}", json(&end)).map_err(&failed)?;
    Ok(count)
}

/// Puts the points of `text` into the database; what is wrong with it otherwise.
pub(crate) fn read_all(db: &mut dyn Database, text: &mut dyn BufRead) -> Result<Result<u64, String>, Fault> {
    let (mut count, mut hasher) = (0, blake3::Hasher::new());
    let mut page: Vec<RawPoint> = Vec::new();
    for line in text.lines() {
        let line = match line {
            Ok(line) => line,
            Err(why) => return Ok(Err(why.to_string())),
        };
        match serde_json::from_str(&line) {
            Err(why) => return Ok(Err(format!("a line has no points ({why})"))),
            Ok(Line::Of { run, key, points }) => {
                hasher.update(line.as_bytes());
                count += points.len() as u64;
                let run = run.to_string();
                page.extend(points.into_iter().map(|place| RawPoint {
                    run: run.clone(),
                    key: key.clone(),
                    place,
                }));
                if page.len() >= PAGE {
                    db.add_points(&page)?;
                    page.clear();
                }
            }
            Ok(Line::End { khub_points, digest }) => {
                db.add_points(&page)?;
                let found = Digest(hasher.finalize().into());
                return Ok(match (khub_points, digest) == (count, found) {
                    true => Ok(count),
                    false => Err(format!(
                        "it has {count} points, and its last line tells of others"
                    )),
                });
            }
        }
    }
    Ok(Err("its last line is missing".to_owned()))
}

fn json(line: &Line) -> String {
    serde_json::to_string(line).expect("lines are plain data")
}

impl crate::Store {
    /// How many points each run has, of those that have any.
    pub fn count_points(&mut self) -> Result<BTreeMap<RunId, u64>, crate::StoreError> {
        self.reading(counts)
    }

    /// Under which names a run has measured something.
    pub fn measured_keys(&mut self, run: RunId) -> Result<Vec<String>, crate::StoreError> {
        self.reading(|db| {
            let last = last_points(db, &[run], None)?.remove(&run).unwrap_or_default();
            Ok(last.into_iter().map(|last| last.key).collect())
        })
    }
}

impl crate::Reader {
    /// The newest points of some runs, by run and name; of all names or of these. A run without any isn't there.
    pub fn last_points(
        &self,
        runs: &[RunId],
        keys: Option<&[String]>,
    ) -> Result<BTreeMap<RunId, Vec<Last>>, crate::StoreError> {
        self.at_one_moment(|db| last_points(db, runs, keys))
    }

    /// What a run has measured under a name, in the order of steps, `limit` points at most; from the beginning, or
    /// behind a point of it.
    pub fn history(
        &self,
        run: RunId,
        key: &str,
        after: Option<Point>,
        limit: usize,
    ) -> Result<Vec<Point>, crate::StoreError> {
        self.at_one_moment(|db| history(db, run, key, after, limit))
    }
}

/// For the writer, whose connection nobody else uses.
pub(crate) fn reading<T>(
    db: &mut dyn Database,
    read: impl FnOnce(&mut dyn Database) -> Result<T, Fault>,
) -> Result<T, Fault> {
    transact(db, Access::Read, read)
}
