//! The event log with its read side, in SQLite or PostgreSQL, and the artifacts in a folder or a bucket: what the
//! hub keeps.
//!
//! The log is the truth. It is committed before anyone is told, each record is chained to the one before by
//! its hash, and everything else here (the state, the table of postings, the snapshot) is made from it and
//! can be made again.
//!
//! ```
//! use consortium::{Account, Actor, Event, Time, Transfer, Won};
//! use store::{Entry, Reader, Store};
//!
//! let dir = std::env::temp_dir().join(format!("khub-store-example-{}", std::process::id()));
//! let (mut store, state) = Store::open(&dir)?;
//! assert_eq!(state.ledger.balance(&Account::Pool(None)).won, Won(0));
//!
//! let money = Transfer::won(Account::Source, Account::Pool(None), Won(500));
//! let events = vec![Event::Appropriated { year: 2021, won: Won(500) }, Event::Posted(money)];
//! let seq = store.append(&[Entry { actor: Actor::Hub, at: Time(0), events }])?; // now it is safe
//! drop(store);
//!
//! let (_store, state) = Store::open(&dir)?;
//! assert_eq!(state.ledger.balance(&Account::Pool(None)).won, Won(500));
//!
//! let reader = Reader::open(&dir)?; // also from another process, while a hub runs
//! assert_eq!(reader.postings(None)?.len(), 2);
//! assert_eq!(reader.verify()?.records, seq);
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A hub's folder:
//!
//! | file | what it is |
//! |---|---|
//! | `khub.db` | the log, the postings, the last snapshot, what runs have measured; SQLite |
//! | `khub.db-wal`, `khub.db-shm` | SQLite's own, there while someone has it open and after a kill; the newest records may be in the first, so they belong to any copy |
//! | `khub.head` | the last confirmed record and its hash, as text |
//! | `khub.lock` | held by the hub that writes |
//!
//! With PostgreSQL (`Store::open` with a [`Place`] made of a connection string) log, postings and snapshot are
//! tables in that database, and the folder keeps the artifacts alone.
//!
//! The chain shows that nothing in the middle was changed, `khub.head` that nothing is missing at the end.
//! Against someone who rewrites the whole folder only a note of the head elsewhere helps; [`Verified`] has
//! it.
//!
//! Where to read on: [`Store`] writes, [`Reader`] reads and verifies, [`backup()`] and [`restore`] carry a log to
//! another place, [`Measured`] is what runs have, [`Blobs`] keeps artifacts' bytes, with a [`Bucket`]
//! behind them or without, [`Uploads`] takes them in.

mod backup;
mod blobs;
mod blocks;
mod bucket;
mod bucket_error;
mod cache;
mod database;
mod error;
mod folder;
mod hold;
mod leftovers;
mod log;
mod points;
mod postgres;
mod postings;
mod reader;
mod reading;
mod remote;
mod s3_wire;
mod seal;
mod snapshot;
mod sqlite;
mod unfinished;
mod uploads;
mod writer;

pub use backup::{BackedUp, backup, restore};
pub use blobs::{BlobError, BlobWriter, Blobs};
pub use bucket::{Bucket, BucketAddress, BucketConfig};
pub use bucket_error::BucketError;
pub use database::Place;
pub use error::StoreError;
pub use hold::Hold;
pub use leftovers::{CollectError, Leftovers};
pub use log::{Entry, Record};
pub use points::{Last, Measured, Point};
pub use postings::Posting;
pub use reader::{Reader, Verified};
pub use reading::BlobReader;
pub use seal::{Seal, Sealer, seals};
pub use uploads::{Turn, Upload, UploadError, UploadLimits, Uploads, Wanted};
pub use writer::Store;
