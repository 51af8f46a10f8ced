//! What runs have measured, in both databases: each point once, in order, to the last bit, and safe when it was answered.

use crate::kill::{folder, start};
use crate::server::Server;
use consortium::RunId;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use store::{Measured, Place, Point, Reader, Store, StoreError, backup, restore};

const RUN: RunId = RunId([1; 16]);
const OTHER: RunId = RunId([2; 16]);

fn at(run: RunId, key: &str, step: i64, value: f64) -> Measured {
    let key = key.to_owned();
    let point = Point {
        step,
        at: 1_000 + step,
        value,
    };
    Measured { run, key, point }
}

/// A place of each sort that is here.
fn places(dir: &Path, server: Option<&Server>, name: &str) -> Vec<Place> {
    let postgres = server.map(|server| server.place(name));
    [Place::from(dir)].into_iter().chain(postgres).collect()
}

fn steps(points: &[Point]) -> Vec<i64> {
    points.iter().map(|point| point.step).collect()
}

#[test]
fn each_point_is_there_once_and_in_order() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    for place in places(dir.path(), server.as_ref(), "points") {
        let (mut store, _) = Store::open(&place).unwrap();
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324];
        let first: Vec<Measured> = (0..)
            .zip(odd)
            .map(|(step, value)| at(RUN, "loss", 4 - step, value))
            .collect();
        store.append_with(&[], &first).unwrap();
        let more = [
            at(RUN, "loss", -7, 1.0),
            at(RUN, "\u{d55c}\u{ae00}", 1, 2.0),
            at(OTHER, "loss", 9, 3.0),
        ];
        store.append_with(&[], &more).unwrap();
        // The same again, alone and beside others and twice in one batch.
        store
            .append_with(
                &[],
                &[first.clone(), first.clone(), vec![at(RUN, "loss", 5, 0.5)]].concat(),
            )
            .unwrap();

        let reader = Reader::open(&place).unwrap();
        let loss = reader.history(RUN, "loss", None, 100).unwrap();
        assert_eq!(steps(&loss), [-7, 0, 1, 2, 3, 4, 5]);
        for measured in &first {
            assert!(loss.contains(&measured.point), "{place}: {measured:?}");
        }
        let two = reader.history(RUN, "loss", None, 2).unwrap();
        assert_eq!(steps(&two), [-7, 0]);
        assert_eq!(reader.history(RUN, "loss", Some(two[1]), 100).unwrap(), loss[2..]);
        assert!(reader.history(RUN, "nothing", None, 9).unwrap().is_empty());

        let last = reader.last_points(&[RUN, OTHER, RunId([3; 16])], None).unwrap();
        assert_eq!(last.len(), 2);
        let loss = &last[&RUN][0];
        assert_eq!((loss.key.as_str(), loss.points, loss.point.step), ("loss", 7, 5));
        assert_eq!(last[&RUN].len(), 2);
        let keys = ["loss".to_owned(), "nothing".to_owned()];
        let last = reader.last_points(&[OTHER, RUN], Some(&keys)).unwrap();
        assert_eq!((last[&RUN].len(), last[&OTHER][0].points), (1, 1));
        assert_eq!(store.count_points().unwrap(), [(RUN, 8), (OTHER, 1)].into());
        assert_eq!(store.measured_keys(RUN).unwrap(), ["loss", "\u{d55c}\u{ae00}"]);
        reader.verify().unwrap();
    }
}

#[test]
fn a_backup_has_them_and_may_change_the_database() {
    let (server, dir) = (Server::start(), tempfile::tempdir().unwrap());
    let all: Vec<Measured> = (0..2_500)
        .map(|step| at(RUN, "loss", step, 1.0 / step as f64))
        .collect();
    let few = [at(OTHER, "a", 1, f64::NAN), at(OTHER, "b", 1, 2.0)];
    let from = places(&dir.path().join("from"), server.as_ref(), "points_from");
    let to = places(&dir.path().join("to"), server.as_ref(), "points_to");
    for (from, to) in from.iter().zip(to.iter().rev()) {
        let (mut store, _) = Store::open(from).unwrap();
        store.append_with(&[], &all).unwrap();
        store.append_with(&[], &few).unwrap();
        let (mut log, mut points) = (Vec::new(), Vec::new());
        let done = backup(from, &mut log, &mut points).unwrap();
        assert_eq!(done.points, 2_502);
        let name = Path::new("points.jsonl");
        for cut in [0, 1, points.len() / 2, points.len() - 2] {
            let mut text = &points[..cut];
            let cut = restore(to, Path::new("b"), &mut log.as_slice(), Some((name, &mut text))).unwrap_err();
            assert!(matches!(cut, StoreError::Damaged { .. }), "{cut}");
        }
        let mut text = points.as_slice();
        let restored = restore(to, Path::new("b"), &mut log.as_slice(), Some((name, &mut text))).unwrap();
        assert_eq!(restored, done);
        let (a, b) = (Reader::open(from).unwrap(), Reader::open(to).unwrap());
        assert_eq!(
            a.history(RUN, "loss", None, 9_999).unwrap(),
            b.history(RUN, "loss", None, 9_999).unwrap()
        );
        let last = b.last_points(&[RUN, OTHER], None).unwrap();
        assert_eq!((last[&RUN][0].points, last[&OTHER].len()), (2_500, 2));
    }
}

/// A writer whose time is over adds no point.
#[test]
fn a_hub_that_was_taken_over_measures_nothing_more() {
    let Some(server) = Server::start() else { return };
    let place = server.place("fenced");
    let (mut old, _) = Store::open(&place).unwrap();
    old.append_with(&[], &[at(RUN, "loss", 1, 1.0)]).unwrap();
    let mut client = server.client();
    client
        .batch_execute("UPDATE fenced.writer SET epoch = epoch + 1")
        .unwrap();
    old.append_with(&[], &[at(RUN, "loss", 2, 1.0)]).unwrap_err();
    let reader = Reader::open(&place).unwrap();
    assert_eq!(steps(&reader.history(RUN, "loss", None, 9).unwrap()), [1]);
}

#[test]
fn what_was_answered_survives_a_kill_between_batches() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let mut child = start("points::child_that_measures", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let wanted = 3 + 7 * round;
        let mut answered = 0;
        let mut seen = 0;
        while seen < wanted {
            let line = lines.next().expect("the child goes on until it is killed");
            if let Some(step) = line.strip_prefix("measured ") {
                answered = step.parse().unwrap();
                seen += 1;
            }
        }
        child.kill().unwrap();
        for line in lines {
            answered = line
                .strip_prefix("measured ")
                .map_or(answered, |step| step.parse().unwrap());
        }
        child.wait().unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        reader.verify().unwrap();
        let found = steps(&reader.history(RUN, "loss", None, usize::MAX).unwrap());
        assert!(
            found.last().is_some_and(|last| *last >= answered),
            "{answered} was answered"
        );
        // Batches are whole, and the count is of what is there.
        assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
        assert_eq!(found.len() % 100, 0);
        let last = reader.last_points(&[RUN], None).unwrap();
        assert_eq!(last[&RUN][0].points, found.len() as u64);
    }
}

/// Run by the test above in a process of its own.
#[test]
fn child_that_measures() {
    let Some(dir) = folder() else { return };
    let (mut store, _) = Store::open(&dir).unwrap();
    let first = store
        .count_points()
        .unwrap()
        .get(&RUN)
        .copied()
        .unwrap_or_default() as i64;
    for batch in 0.. {
        let steps = first + batch * 100..first + (batch + 1) * 100;
        let last = steps.end - 1;
        let measured: Vec<Measured> = steps.map(|step| at(RUN, "loss", step, 0.5)).collect();
        store.append_with(&[], &measured).unwrap();
        println!("\nmeasured {last}");
    }
    let _ = std::io::stdin().read(&mut [0]);
}
