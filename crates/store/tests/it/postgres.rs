//! The log in a real PostgreSQL server, which is started for a test and stopped after it.

use crate::log::keep;
use crate::server::Server;
use crate::story::Story;
use consortium::{Actor, State, Time};
use std::path::Path;
use store::{Entry, Place, Reader, Store, StoreError};

impl Server {
    /// An empty place on the server.
    pub(crate) fn place(&self, name: &str) -> Place {
        let mut client = self.client();
        client.batch_execute(&format!("CREATE SCHEMA {name}")).unwrap();
        format!("{}&options=-csearch_path%3D{name}", self.url)
            .parse()
            .unwrap()
    }

    pub(crate) fn client(&self) -> postgres::Client {
        postgres::Client::connect(&self.url, postgres::NoTls).unwrap()
    }
}

#[test]
fn the_log_is_the_same_in_both_databases() {
    let Some(server) = Server::start() else { return };
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    keep(dir.path(), &story);
    let sqlite = Reader::open(dir.path()).unwrap();
    let place = server.place("a");
    assert!(matches!(Reader::open(&place), Err(StoreError::Missing { .. })));
    let (mut store, state) = Store::open(&place).unwrap();
    assert_eq!((store.seq(), state), (0, State::default()));
    for entries in story.entries.chunks(7) {
        store.append(entries).unwrap();
    }
    let reader = Reader::open(&place).unwrap();
    assert_eq!(reader.verify().unwrap(), sqlite.verify().unwrap());
    for job in [None, Some(consortium::JobId(2))] {
        assert_eq!(reader.postings(job).unwrap(), sqlite.postings(job).unwrap());
    }
    assert_eq!(reader.records(5, 9).unwrap(), sqlite.records(5, 9).unwrap());

    store.snapshot(&story.state).unwrap();
    assert!(matches!(Store::open(&place), Err(StoreError::Busy { .. })));
    drop(store);
    let (mut store, state) = Store::open(&place).unwrap();
    assert_eq!((store.seq(), state), (story.entries.len() as u64, story.state));
    reader.verify().unwrap();

    // What is changed behind the hub's back is found, and the read side can be made again.
    let mut client = server.client();
    client.batch_execute("SET search_path = a").unwrap();
    client.batch_execute("UPDATE postings SET won = won + 1").unwrap();
    assert!(matches!(reader.verify(), Err(StoreError::Stale { .. })));
    store.rebuild_read_side().unwrap();
    reader.verify().unwrap();
    for (change, told) in [
        (
            "UPDATE log SET events = replace(events, 'gaon', 'noag') WHERE seq = 2",
            "record 2 was changed",
        ),
        (
            "DELETE FROM postings; DELETE FROM log WHERE seq = 2",
            "record 2 is missing",
        ),
        ("DROP TABLE postings; DROP TABLE log", "\"log\" does not exist"),
    ] {
        client.batch_execute(change).unwrap();
        let found = reader.verify().unwrap_err();
        assert!(matches!(found, StoreError::Damaged { .. }), "{change}: {found}");
        assert!(found.to_string().contains(told), "{change}: {found}");
    }
}

/// The server sees that a connection is gone a little later than who had it.
#[test]
fn who_has_let_go_of_a_database_doesnt_keep_the_next_from_it() {
    let Some(server) = Server::start() else { return };
    let place = server.place("in_turn");
    let mut client = server.client();
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    for turn in 0..100 {
        drop(Store::open(&place).unwrap());
        let held: i64 = client.query_one(held, &[]).unwrap().get(0);
        assert_eq!(held, 0, "turn {turn}");
    }
}

/// The second hub waits, takes over from a first that is gone or silent, and the first is refused from then on.
#[test]
fn one_writes_and_another_takes_over() {
    let Some(server) = Server::start() else { return };
    let place = server.place("b");
    let entry = |n| Entry {
        actor: Actor::Hub,
        at: Time(n),
        events: vec![],
    };
    let (mut first, _) = Store::open(&place).unwrap();
    first.append(&[entry(1)]).unwrap();
    first.keep_alive().unwrap();
    let busy = Store::open(&place).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    first.append(&[entry(2)]).unwrap();

    // The first shows no life: the next try ends its connection, and the one after has the log.
    let mut client = server.client();
    client.batch_execute("SET search_path = b").unwrap();
    client
        .batch_execute("UPDATE writer SET heard = heard - interval '1 minute'")
        .unwrap();
    let busy = Store::open(&place).unwrap_err();
    assert!(matches!(busy, StoreError::Busy { .. }), "{busy}");
    let mut second = (0..10_000).find_map(|_| Store::open(&place).ok()).unwrap().0;
    assert_eq!(second.seq(), 2);
    let refused = first.append(&[entry(3)]).unwrap_err();
    assert!(matches!(refused, StoreError::Database { .. }), "{refused}");
    second.append(&[entry(4)]).unwrap();

    // Without a lock as well, an old epoch is enough to be refused: also in the middle of things.
    client
        .batch_execute("UPDATE writer SET epoch = epoch + 1")
        .unwrap();
    let refused = second.append(&[entry(5)]).unwrap_err();
    assert!(
        refused.to_string().contains("another hub has taken over"),
        "{refused}"
    );
    drop((first, second));
    let times: Vec<Time> = Reader::open(&place)
        .unwrap()
        .records(1, 9)
        .unwrap()
        .iter()
        .map(|record| record.at)
        .collect();
    assert_eq!(times, [Time(1), Time(2), Time(4)]);
}

#[test]
fn a_backup_goes_from_either_database_to_either() {
    let Some(server) = Server::start() else { return };
    let (dir, story) = (tempfile::tempdir().unwrap(), Story::of_jobs(2));
    let (first, last) = (dir.path().join("first"), dir.path().join("last"));
    keep(&first, &story);
    let places = [
        Place::from(&first),
        server.place("c"),
        server.place("d"),
        Place::from(&last),
    ];
    let mut backups = Vec::new();
    for pair in places.windows(2) {
        let mut text = Vec::new();
        let done = store::backup(&pair[0], &mut text, &mut Vec::new()).unwrap();
        let restored = store::restore(&pair[1], Path::new("backup"), &mut text.as_slice(), None).unwrap();
        assert_eq!(restored, done);
        assert_eq!(Reader::open(&pair[1]).unwrap().verify().unwrap().head, done.head);
        backups.push(text);
    }
    assert!(backups.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(Store::open(&last).unwrap().1, story.state);
}
