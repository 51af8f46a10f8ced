//! The training program as a site sees it: a folder, orders in, words out. The "pipes" are channels, so that
//! a test decides at which step they break.

#![allow(clippy::unwrap_used, reason = "what is a test's helper, clippy can't tell")]

use language::{RunError, Settings, Tokens, run};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use sync::contract::{JobFile, Rounds};
use sync::{
    Accepted, Came, Codec, Found, HeldOut, JobFolder, Order, OuterConfig, Said, Scale, Update, encode,
};
use tempfile::TempDir;

const ROUNDS: Rounds = Rounds::new(3, 64);

/// A round sends half of the model, while the next one is trained.
const STREAM: Rounds = Rounds {
    fragments: 2,
    overlap: 1,
    codec: Codec::Int4,
    ..Rounds::new(5, 64)
};

#[test]
fn two_sites_train_one_model() {
    let sites = [Site::new("busan"), Site::new("seoul")];
    let running: Vec<Running> = sites.iter().map(Running::start).collect();
    let mut agreed = running.iter().map(Running::ready).collect::<Vec<_>>();
    assert_eq!(agreed[0], agreed[1]);
    assert_eq!(agreed[0].0, 0);
    let mut losses = Vec::new();
    for round in 0..ROUNDS.count {
        let (outer, loss) = one_round(&sites, &running, round);
        assert!(!agreed.contains(&(round, outer.clone())));
        agreed.push((round, outer));
        losses.push(loss);
    }
    assert!(losses[2] < 0.8 * losses[0], "{losses:?}");

    let outputs: Vec<Vec<u8>> = running
        .iter()
        .zip(&sites)
        .flat_map(|(r, s)| finish(r, s))
        .collect();
    let (busan, seoul) = outputs.split_at(outputs.len() / 2);
    assert!(busan == seoul);
    for site in running {
        site.thread.join().unwrap().unwrap();
    }
    let report: serde_json::Value = serde_json::from_slice(&busan[1]).unwrap();
    let number = |key: &str| report[key].as_f64().unwrap();
    let (first, last) = (number("bits_per_byte_first"), number("bits_per_byte_last"));
    // A new model knows nothing: 6 bits for each token of a vocabulary of 64, of 4 bytes each.
    assert!(
        (first - 6.0 / 4.0).abs() < 0.05 && last < 0.8 * first,
        "{first} {last}"
    );
    assert_eq!(report["tokens"], 3 * 2 * 64 * 16);
    assert_eq!(report["evaluated_tokens"], 256);
    let digests: Vec<&str> = agreed[2..].iter().map(|(_, outer)| outer.as_str()).collect();
    assert_eq!(report["outer"], serde_json::json!(digests));
    let checkpoint = nn::Checkpoint::parse(&busan[0]).unwrap();
    let model = language::from_checkpoint(&checkpoint).unwrap();
    assert_eq!(report["parameters"], model.params.len());
}

/// The program looks at updates of all sorts before any of them counts, and trains as if it had not.
#[test]
fn what_would_harm_the_model_is_found_out() {
    let undisturbed = alone(&Site::new("seoul"));
    let site = Site::new("seoul");
    let running = Running::start(&site);
    running.ready();
    running.train(0);
    assert!(matches!(running.hear(), Said::Update { .. }));
    let honest = fs::read(update_file(&site, 0)).unwrap();
    let changes = Update::parse(&honest).unwrap().decode();
    let times = |by: f32| {
        let changes: Vec<f32> = changes.iter().map(|x| x * by).collect();
        encode(Codec::Fp32, &changes, None).unwrap()
    };
    write(&site, 0, "flipped", &times(-1.0));
    write(&site, 0, "garbage", &honest[..honest.len() - 1]);
    write(&site, 0, "loud", &times(1_000.0));
    let sites = ["flipped", "garbage", "loud", "seoul"];
    let inspect = |held_out: Option<HeldOut>| {
        let updates = sites.map(|site| Came {
            site: site.into(),
            file: JobFolder::update_file(0, site),
        });
        let order = Order::Inspect {
            round: 0,
            updates: updates.into(),
            held_out,
        };
        running.order(&order.line());
        match running.hear() {
            Said::Inspected {
                round: 0,
                before,
                found,
            } => (before, found),
            other => panic!("{other:?}"),
        }
    };
    let held_out = HeldOut {
        input: "valid.tokens".into(),
        samples: 8,
    };
    let (before, found) = inspect(Some(held_out.clone()));
    let before = before.unwrap();
    // A model of 64 tokens that knows nothing: log 64 nats.
    assert!((4_000_000..4_400_000).contains(&before), "{before}");
    let [flipped, garbage, loud, own]: [Found; 4] = found.clone().try_into().unwrap();
    assert_eq!((garbage.norm, garbage.loss), (None, None));
    let norm = own.norm.unwrap();
    assert_eq!(flipped.norm, Some(norm));
    let times = loud.norm.unwrap() as f64 / norm as f64;
    assert!((990.0..1_010.0).contains(&times), "{times}");
    assert!(own.loss.unwrap() < before, "{own:?}");
    // Of a network that knows nothing yet the other way may be as good: two signs that are turned make one that isn't.
    assert!(flipped.loss.unwrap() > own.loss.unwrap(), "{flipped:?} {own:?}");
    assert!(loud.loss.unwrap() > 2 * before, "{loud:?}");
    assert_eq!(
        inspect(Some(held_out)),
        (Some(before), found),
        "asked again, the same"
    );
    let (none, norms) = inspect(None);
    assert_eq!((none, norms[3].norm, norms[3].loss), (None, Some(norm), None));

    let mut told = Vec::new();
    running.commit(0, &[accepted(0, "seoul")]);
    told.push((honest, running.committed(0)));
    told.extend((1..ROUNDS.count).map(|round| turn(&running, &site, round)));
    assert!(told == undisturbed);
    running.end().unwrap();
}

#[test]
fn a_stop_leaves_no_trace() {
    let undisturbed = alone(&Site::new("seoul"));

    // Killed in round 1 when the first of its eight steps is taken.
    let site = Site::new("seoul");
    let running = Running::start_until(&site, Some(1));
    running.ready();
    let mut told = vec![turn(&running, &site, 0)];
    running.train(1);
    running.thread.join().unwrap().unwrap();
    assert!(
        running
            .said
            .try_iter()
            .all(|said| matches!(said, Said::Progress { .. }))
    );
    assert_eq!(metrics(&site), [(0, 8), (1, 1)]);
    assert!(!update_file(&site, 1).exists());

    // Killed when round 1 is trained and not yet committed: the answer is there already.
    let running = Running::start(&site);
    assert_eq!(running.ready(), (1, told[0].1.clone()));
    running.train(1);
    let answer = running.hear();
    running.end().unwrap();
    let update = fs::read(update_file(&site, 1)).unwrap();
    let running = Running::start(&site);
    assert_eq!(running.ready(), (1, told[0].1.clone()));
    running.train(1);
    assert_eq!(running.hear(), answer);
    assert_eq!(metrics(&site), [(0, 8), (1, 9)]);
    running.commit(1, &[accepted(1, "seoul")]);
    told.push((update, running.committed(1)));
    told.push(turn(&running, &site, 2));
    assert_eq!(
        noted(&site, "applied"),
        [0, 1, 2],
        "the last one's wait counts too"
    );
    running.end().unwrap();
    assert!(told == undisturbed);
}

#[test]
fn a_round_is_trained_while_the_one_before_it_travels() {
    let (digests, updates) = stream(false, |_| None);
    assert_eq!(digests.len(), STREAM.count as usize);
    // The fragments in turn, and all of the model in the end.
    let sizes: Vec<usize> = updates
        .iter()
        .map(|update| Update::parse(update).unwrap().len())
        .collect();
    assert_eq!((sizes[0], sizes[2]), (sizes[4], sizes[6]));
    assert_eq!(sizes[0] + sizes[2], sizes[8]);
    assert!(
        stream(true, |_| None) == (digests, updates),
        "stops leave no trace"
    );
}

/// All rounds of [`STREAM`] at two sites: the digests that both come to, and their updates. With `stops` one of
/// them is stopped after each training and each commit, and once its update is lost as well.
fn stream(stops: bool, codec: fn(u32) -> Option<Codec>) -> (Vec<String>, Vec<Vec<u8>>) {
    let sites = ["busan", "seoul"].map(|name| Site::with(name, |job| job.rounds = STREAM));
    let mut running = sites.each_ref().map(Running::start);
    let mut ready = running.each_ref().map(Running::ready);
    let (mut digests, mut updates) = (Vec::new(), Vec::new());
    let restart = |running: &mut [Running; 2], ready: &(u32, String)| {
        let again = Running::start(&sites[1]);
        std::mem::replace(&mut running[1], again).end().unwrap();
        assert_eq!(&running[1].ready(), ready);
    };
    for round in 0..=STREAM.count {
        if round < STREAM.count {
            let first = |site: usize| (u64::from(round) * 2 + site as u64) * 64;
            let train = |site: usize, running: &Running| {
                let (first, end) = (first(site), first(site) + 64);
                running.order(
                    &Order::Train {
                        round,
                        first,
                        end,
                        codec: codec(round),
                    }
                    .line(),
                );
                running.hear()
            };
            let answer = [0, 1].map(|site| train(site, &running[site]));
            let written = sites
                .each_ref()
                .map(|site| fs::read(update_file(site, round)).unwrap());
            if stops {
                restart(&mut running, &ready[1]);
                if round == 3 {
                    fs::remove_file(update_file(&sites[1], round)).unwrap();
                }
                assert_eq!(train(1, &running[1]), answer[1]);
                assert!(fs::read(update_file(&sites[1], round)).unwrap() == written[1]);
            }
            write(&sites[0], round, "seoul", &written[1]);
            write(&sites[1], round, "busan", &written[0]);
            updates.extend(written);
        }
        if let Some(round) = round.checked_sub(1) {
            let accepted = [accepted(round, "busan"), accepted(round, "seoul")];
            running
                .iter()
                .for_each(|running| running.commit(round, &accepted));
            ready = running
                .each_ref()
                .map(|running| (round + 1, running.committed(round)));
            assert_eq!(ready[0], ready[1]);
            digests.push(ready[0].1.clone());
            if stops {
                restart(&mut running, &ready[1]);
            }
        }
    }
    let results = [0, 1].map(|site| finish(&running[site], &sites[site]));
    assert!(results[0] == results[1]);
    (digests, updates)
}

/// The order's codec goes before the job's, and what one codec could not tell comes with the next update in another.
#[test]
fn the_codec_may_change_from_round_to_round() {
    let codec: fn(u32) -> Option<Codec> =
        |round| [None, Some(Codec::Sparse), Some(Codec::Int8)][round as usize % 3];
    let told = stream(false, codec);
    for (i, update) in told.1.iter().enumerate() {
        let wanted = codec(i as u32 / 2).unwrap_or(STREAM.codec);
        assert_eq!(Update::parse(update).unwrap().codec(), wanted);
    }
    assert!(stream(true, codec) == told, "stops leave no trace");
}

/// Beyond the job's count the whole model is sent; a round in which nobody's update counts takes nothing along.
#[test]
fn rounds_go_on_for_samples_that_were_left_over() {
    let site = Site::with("seoul", |job| {
        job.rounds = Rounds {
            fragments: 2,
            ..ROUNDS
        }
    });
    let running = Running::start(&site);
    running.ready();
    let told: Vec<_> = (0..ROUNDS.count + 2)
        .map(|round| turn(&running, &site, round))
        .collect();
    let sizes = told
        .iter()
        .map(|(update, _)| Update::parse(update).unwrap().len());
    let sizes: Vec<usize> = sizes.collect();
    assert_eq!([sizes[0] + sizes[1]; 3], sizes[2..]);
    running.train(5);
    assert!(matches!(running.hear(), Said::Update { .. }));
    running.commit(5, &[]);
    assert_eq!(running.committed(5), told[4].1);
    finish(&running, &site);
    running.thread.join().unwrap().unwrap();
}

#[test]
fn an_update_that_does_not_count_leaves_nothing_behind() {
    let other = Site::with("busan", |job| job.rounds = STREAM);
    let running = Running::start(&other);
    running.ready();
    running.train(0);
    running.hear();
    let update = fs::read(update_file(&other, 0)).unwrap();
    running.end().unwrap();
    // Both come to what busan learned in round 0. Seoul trained it too, and round 1 on top of that, too late.
    let trained = ["seoul", "ulsan"].map(|name| {
        let site = Site::with(name, |job| job.rounds = STREAM);
        let running = Running::start(&site);
        running.ready();
        if name == "seoul" {
            for round in [0, 1] {
                running.train(round);
                running.hear();
            }
        }
        write(&site, 0, "busan", &update);
        running.commit(0, &[accepted(0, "busan")]);
        let outer = running.committed(0);
        running.train(1);
        running.hear();
        (outer, fs::read(update_file(&site, 1)).unwrap())
    });
    assert!(trained[0] == trained[1]);
}

#[test]
fn a_site_that_joins_begins_with_what_others_agree_on() {
    let early = Site::new("busan");
    let told = alone(&early);
    let running = Running::start(&early);
    running.ready();
    let early_save = Order::Save { round: 1 }.line();
    running.order(&early_save);
    running.fails(&["told to save what is agreed on after round 1 when 3 rounds are applied"]);
    let running = Running::start(&early);
    running.ready();
    running.order(&Order::Save { round: 2 }.line());
    let file = JobFolder::outer_file(2);
    assert_eq!(
        running.hear(),
        Said::Saved {
            round: 2,
            file: file.clone()
        }
    );
    let results = finish(&running, &early);
    let saved = fs::read(early.folder.file(&file)).unwrap();

    let late = Site::new("seoul");
    let running = Running::start(&late);
    let ready = running.ready();
    let restore = |outer: &str| {
        let outer = outer.to_owned();
        let (round, file) = (2, file.clone());
        running.order(&Order::Restore { round, file, outer }.line());
    };
    fs::create_dir_all(late.folder.file("outer")).unwrap();
    for (bytes, outer) in [(&saved[..100], &told[2].1), (&saved, &told[1].1)] {
        fs::write(late.folder.file(&file), bytes).unwrap();
        restore(outer);
        let Said::Note { message } = running.hear() else {
            panic!("it says what is wrong");
        };
        assert!(message.contains("can't be gone on from"), "{message}");
        assert_eq!(running.ready(), ready, "nothing has changed");
    }
    fs::write(late.folder.file(&file), &saved).unwrap();
    for _ in 0..2 {
        restore(&told[2].1);
        assert_eq!(running.committed(2), told[2].1);
    }
    assert!(finish(&running, &late)[0] == results[0]);
}

#[test]
fn an_update_that_is_lost_or_replaced_is_made_again() {
    let site = Site::new("seoul");
    let running = Running::start(&site);
    running.ready();
    for damage in [
        (|path: &Path| fs::remove_file(path).unwrap()) as fn(&Path),
        |path| fs::write(path, b"KHUBUPD2").unwrap(),
    ] {
        running.train(0);
        let answer = running.hear();
        let update = fs::read(update_file(&site, 0)).unwrap();
        damage(&update_file(&site, 0));
        running.train(0);
        assert_eq!(running.hear(), answer);
        assert!(fs::read(update_file(&site, 0)).unwrap() == update);
    }
    // Another interval is another update; the first is not mistaken for it.
    let update = fs::read(update_file(&site, 0)).unwrap();
    running.order(
        &Order::Train {
            round: 0,
            first: 64,
            end: 128,
            codec: None,
        }
        .line(),
    );
    running.hear();
    assert!(fs::read(update_file(&site, 0)).unwrap() != update);
    running.train(0);
    running.hear();
    assert!(fs::read(update_file(&site, 0)).unwrap() == update);
    running.end().unwrap();
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let with = |threads: usize| {
        let site = Site::with("seoul", |job| job.settings.threads = threads);
        alone(&site)
    };
    assert!(with(1) == with(2));
}

#[test]
fn a_late_site_replays_the_rounds() {
    let early = Site::new("busan");
    let told = alone(&early);
    let late = Site::new("seoul");
    let running = Running::start(&late);
    running.ready();
    for (round, (update, outer)) in (0..2).zip(&told) {
        write(&late, round, "busan", update);
        running.commit(round, &[accepted(round, "busan")]);
        assert_eq!(&running.committed(round), outer);
    }
    // Its own moments are of nothing yet, so its update is another one; it fits all the same.
    running.train(2);
    assert!(matches!(
        running.hear(),
        Said::Update {
            round: 2,
            steps: 8,
            ..
        }
    ));
    assert!(fs::read(update_file(&late, 2)).unwrap() != told[2].0);
    write(&late, 2, "busan", &told[2].0);
    running.commit(2, &[accepted(2, "busan")]);
    assert_eq!(running.committed(2), told[2].1);
    running.end().unwrap();
}

#[test]
fn a_damaged_checkpoint_is_told_and_replayed() {
    let damages: [fn(&mut Vec<u8>); 4] = [
        Vec::clear,
        |bytes| bytes.truncate(100),
        |bytes| bytes.truncate(bytes.len() - 1),
        |bytes| {
            let last_weights = bytes.len() - 100;
            bytes[last_weights] ^= 1;
        },
    ];
    let site = Site::new("seoul");
    let told = alone(&site);
    let state = site.folder.checkpoint().join("state.safetensors");
    let whole = fs::read(&state).unwrap();
    for (i, damage) in damages.into_iter().enumerate() {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&state, bytes).unwrap();
        let running = Running::start(&site);
        let note = running.hear();
        let Said::Note { message } = &note else {
            panic!("damage {i}: {note:?}");
        };
        assert!(message.contains("state.safetensors is damaged"), "{message}");
        assert_eq!(running.ready().0, 0);
        for (round, (_, outer)) in (0..).zip(&told) {
            running.commit(round, &[accepted(round, "seoul")]);
            assert_eq!(&running.committed(round), outer);
        }
        running.end().unwrap();
    }
}

#[test]
fn what_is_asked_again_is_answered_again() {
    let site = Site::new("seoul");
    let told = alone(&site);
    let mut results = Vec::new();
    for _ in 0..2 {
        let running = Running::start(&site);
        assert_eq!(running.ready(), (3, told[2].1.clone()));
        for round in [2, 0, 0, 1] {
            running.commit(round, &[accepted(round, "seoul")]);
            assert_eq!(running.committed(round), told[round as usize].1);
        }
        results.push(finish(&running, &site));
        running.end().unwrap();
    }
    assert!(results[0] == results[1]);
}

#[test]
fn an_update_that_is_none_is_named() {
    let site = Site::new("seoul");
    let running = Running::start(&site);
    let ready = running.ready();
    running.train(0);
    running.hear();
    running.end().unwrap();
    let whole = fs::read(update_file(&site, 0)).unwrap();
    let cases = [
        (whole[..100].to_vec(), "this has 100; fetch it again"),
        (b"<html>".to_vec(), "the first bytes are not KHUBUPD2"),
        (
            encode(Codec::Int8, &[0.5; 10], None).unwrap(),
            "update 1 is of 10 weights",
        ),
    ];
    for (bytes, expected) in cases {
        write(&site, 0, "busan", &bytes);
        let running = Running::start(&site);
        assert_eq!(running.ready(), ready);
        running.commit(0, &[accepted(0, "seoul"), accepted(0, "busan")]);
        running.fails(&["round 0", "updates/000000-busan.update", expected]);
    }
    let running = Running::start(&site);
    assert_eq!(running.ready(), ready);
    running.commit(0, &[accepted(0, "ulsan")]);
    running.fails(&["updates/000000-ulsan.update", "No such file"]);
}

#[test]
fn an_order_at_the_wrong_time_says_so() {
    let line = |order: Order| order.line();
    let train = |round, first, end| {
        line(Order::Train {
            round,
            first,
            end,
            codec: None,
        })
    };
    let commit = |round| {
        line(Order::Commit {
            round,
            updates: vec![],
        })
    };
    let cases = [
        (train(1, 0, 64), "told to train round 1 when 0 rounds are applied"),
        (train(3, 0, 64), "told to train round 3 when 0 rounds are applied"),
        (train(0, 0, 60), "samples 0..60: a round takes whole batches of 8"),
        (train(0, 64, 0), "samples 64..0"),
        (train(0, 0, 128), "64 samples at most"),
        (
            commit(1),
            "told to commit round 1 when 0 rounds are applied: round 0 is next",
        ),
        (
            line(Order::Finish),
            "told to finish when 0 of 3 rounds are applied",
        ),
        (
            "{\"do\":\"dance\"}\n".into(),
            "a line that the contract doesn't know",
        ),
    ];
    for (order, expected) in cases {
        let site = Site::new("seoul");
        let running = Running::start(&site);
        running.ready();
        running.order(&order);
        running.fails(&[expected]);
    }
}

#[test]
fn a_job_that_can_not_be_done_says_why() {
    type Spoil = fn(&Site);
    let cases: [(Spoil, &[&str]); 9] = [
        (
            |site| add_line(site, "widht = 32"),
            &["job.toml", "unknown field `widht`", "`width`"],
        ),
        (
            |site| site.write(&job("seoul", |job| job.settings.batch = 48)),
            &["rounds.samples is 64: it takes a multiple of batch, which is 48"],
        ),
        (
            |site| site.write(&job("seoul", |job| job.settings.heads = 5)),
            &["heads is 5", "width 16"],
        ),
        (
            |site| site.write(&job("seoul", |job| job.settings.clip = -1.0)),
            &["clip is -1"],
        ),
        (
            |site| fs::remove_file(site.folder.job()).unwrap(),
            &["job.toml", "No such file"],
        ),
        (
            |site| fs::remove_file(site.folder.input("valid.tokens")).unwrap(),
            &["valid.tokens"],
        ),
        (
            |site| tokens(&site.folder.input("valid.tokens"), 16, 64),
            &["inputs/valid.tokens has 16 tokens", "17"],
        ),
        (
            |site| tokens(&site.folder.input("valid.tokens"), 300, 65),
            &["vocabulary of 64", "one of 65"],
        ),
        (
            |site| {
                alone(site);
                site.write(&job("seoul", |job| job.job = "job-8".into()));
            },
            &["belongs to job-7, and job.toml is job-8"],
        ),
    ];
    for (spoil, expected) in cases {
        let site = Site::new("seoul");
        spoil(&site);
        Running::start(&site).fails(expected);
    }
    let site = Site::new("seoul");
    alone(&site);
    site.write(&job("seoul", |job| job.settings.learning_rate = 0.5));
    Running::start(&site).fails(&["state.safetensors", "other settings than job.toml"]);
}

// ---- a site ----------------------------------------------------------------------------------------------

/// A job's folder at a site, with what the site puts in it.
struct Site {
    name: String,
    folder: JobFolder,
    _dir: TempDir,
}

impl Site {
    fn new(name: &str) -> Self {
        Self::with(name, |_| ())
    }

    fn with(name: &str, change: impl FnOnce(&mut JobFile<Settings>)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let site = Self {
            name: name.to_owned(),
            folder: JobFolder::new(dir.path()),
            _dir: dir,
        };
        fs::create_dir(dir_of(&site.folder.input("x"))).unwrap();
        site.write(&job(name, change));
        tokens(&site.folder.input("train.tokens"), 4_000, 64);
        tokens(&site.folder.input("valid.tokens"), 500, 64);
        fs::write(site.folder.input("tokenizer.json"), "{}").unwrap();
        site
    }

    fn write(&self, job: &JobFile<Settings>) {
        fs::write(self.folder.job(), toml::to_string(job).unwrap()).unwrap();
    }
}

fn job(site: &str, change: impl FnOnce(&mut JobFile<Settings>)) -> JobFile<Settings> {
    let mut job = JobFile {
        name: "tiny".into(),
        job: "job-7".into(),
        site: site.into(),
        program: "language".into(),
        label: "open".into(),
        inputs: BTreeMap::from([("train.tokens".into(), "blake3:00".into())]),
        rounds: ROUNDS,
        settings: Settings {
            width: 16,
            layers: 1,
            heads: 2,
            seq: 16,
            batch: 8,
            learning_rate: 2e-2,
            warmup: 2,
            outer: OuterConfig {
                learning_rate: 0.7,
                momentum: 0.5,
            },
            evaluate_tokens: 256,
            ..Settings::default()
        },
    };
    change(&mut job);
    job
}

/// A simple language: each token follows from the one before. Its text has 4 bytes a token.
fn tokens(path: &Path, count: usize, vocab: usize) {
    let next = |token: &u16| Some((token * 5 + 1) % 64);
    let tokens: Vec<u16> = std::iter::successors(Some(1), next).take(count).collect();
    Tokens::write(path, vocab, 4 * count as u64, tokens).unwrap();
}

fn add_line(site: &Site, line: &str) {
    let text = fs::read_to_string(site.folder.job()).unwrap();
    fs::write(
        site.folder.job(),
        text.replace("[settings]\n", &format!("[settings]\n{line}\n")),
    )
    .unwrap();
}

fn dir_of(path: &Path) -> &Path {
    path.parent().unwrap()
}

fn update_file(site: &Site, round: u32) -> std::path::PathBuf {
    site.folder.file(&JobFolder::update_file(round, &site.name))
}

/// Puts `from`'s update into the folder, as a site does that has fetched it.
fn write(site: &Site, round: u32, from: &str, update: &[u8]) {
    let path = site.folder.file(&JobFolder::update_file(round, from));
    fs::create_dir_all(dir_of(&path)).unwrap();
    fs::write(path, update).unwrap();
}

/// Lines by round.
fn metrics(site: &Site) -> Vec<(u64, usize)> {
    let mut lines = BTreeMap::new();
    for round in noted(site, "round") {
        *lines.entry(round).or_default() += 1;
    }
    lines.into_iter().collect()
}

/// The numbers in those lines of metrics that have one of that name; each tells what was waited before it.
fn noted(site: &Site, name: &str) -> Vec<u64> {
    let text = fs::read_to_string(site.folder.metrics()).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let lines = lines.inspect(|line| assert!(line["waited_s"].as_f64().unwrap() >= 0.0));
    lines.filter_map(|line| line[name].as_u64()).collect()
}

fn accepted(round: u32, site: &str) -> Accepted {
    Accepted {
        site: site.into(),
        tokens: 64 * 16,
        scale: Scale::WHOLE,
        file: JobFolder::update_file(round, site),
    }
}

// ---- rounds ----------------------------------------------------------------------------------------------

/// All rounds at one site: each one's update and the digest after it.
fn alone(site: &Site) -> Vec<(Vec<u8>, String)> {
    let running = Running::start(site);
    running.ready();
    let told = (0..ROUNDS.count)
        .map(|round| turn(&running, site, round))
        .collect();
    running.end().unwrap();
    told
}

/// One round at one site.
fn turn(running: &Running, site: &Site, round: u32) -> (Vec<u8>, String) {
    running.train(round);
    assert!(matches!(
        running.hear(),
        Said::Update {
            tokens: 1024,
            steps: 8,
            ..
        }
    ));
    running.commit(round, &[accepted(round, &site.name)]);
    (
        fs::read(update_file(site, round)).unwrap(),
        running.committed(round),
    )
}

/// One round at all sites, each on an interval of its own: the digest that all come to, and the mean loss.
fn one_round(sites: &[Site], running: &[Running], round: u32) -> (String, f32) {
    let (mut first, mut losses, mut count) = (u64::from(round) * 128, 0.0, 0.0);
    for (site, running) in sites.iter().zip(running) {
        let end = first + ROUNDS.samples;
        running.order(
            &Order::Train {
                round,
                first,
                end,
                codec: None,
            }
            .line(),
        );
        first = end;
        let Said::Update { loss, file, .. } = running.hear() else {
            panic!("an update is said");
        };
        (losses, count) = (losses + loss, count + 1.0);
        let update = fs::read(site.folder.file(&file)).unwrap();
        sites
            .iter()
            .for_each(|other| write(other, round, &site.name, &update));
    }
    let updates: Vec<Accepted> = sites.iter().map(|site| accepted(round, &site.name)).collect();
    running.iter().for_each(|running| running.commit(round, &updates));
    let mut outer: Vec<String> = running.iter().map(|running| running.committed(round)).collect();
    outer.dedup();
    assert_eq!(outer.len(), 1, "all come to the same weights");
    (outer.remove(0), losses / count)
}

/// The model, the report and the tokeniser.
fn finish(running: &Running, site: &Site) -> Vec<Vec<u8>> {
    running.order(&Order::Finish.line());
    let Said::Done { outputs } = running.hear() else {
        panic!("the results are said");
    };
    let kinds: Vec<&str> = outputs.iter().map(|output| output.kind.as_str()).collect();
    assert_eq!(kinds, ["model", "report", "metrics", "tokenizer"]);
    let files = outputs.iter().filter(|output| output.kind != "metrics");
    files
        .map(|output| fs::read(site.folder.file(&output.file)).unwrap())
        .collect()
}

// ---- a program under way ---------------------------------------------------------------------------------

struct Running {
    orders: Arc<Mutex<Option<Sender<String>>>>,
    said: Receiver<Said>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start(site: &Site) -> Self {
        Self::start_until(site, None)
    }

    /// The orders end when the first step of round `until` is said, before the second is taken.
    fn start_until(site: &Site, until: Option<u32>) -> Self {
        let (orders, queue) = mpsc::channel();
        let (said, heard) = mpsc::channel();
        let (present, gone) = mpsc::channel();
        let orders = Arc::new(Mutex::new(Some(orders)));
        let input = Input {
            queue,
            rest: Vec::new(),
            _present: present,
        };
        let output = Output {
            said,
            until,
            orders: Arc::clone(&orders),
            gone,
        };
        let folder = site.folder.clone();
        Self {
            orders,
            said: heard,
            thread: std::thread::spawn(move || run(&folder, BufReader::new(input), output)),
        }
    }

    fn order(&self, line: &str) {
        let orders = self.orders.lock().unwrap();
        orders.as_ref().unwrap().send(line.to_owned()).unwrap();
    }

    fn train(&self, round: u32) {
        let first = u64::from(round) * ROUNDS.samples;
        let end = first + ROUNDS.samples;
        self.order(
            &Order::Train {
                round,
                first,
                end,
                codec: None,
            }
            .line(),
        );
    }

    fn commit(&self, round: u32, updates: &[Accepted]) {
        let updates = updates.to_vec();
        self.order(&Order::Commit { round, updates }.line());
    }

    /// What is said next, but for progress.
    fn hear(&self) -> Said {
        let said = self
            .said
            .iter()
            .find(|said| !matches!(said, Said::Progress { .. }));
        said.expect("the program says more before it ends")
    }

    fn ready(&self) -> (u32, String) {
        match self.hear() {
            Said::Ready { committed, outer, .. } => (committed, outer),
            other => panic!("{other:?}"),
        }
    }

    fn committed(&self, expected: u32) -> String {
        match self.hear() {
            Said::Committed { round, outer } if round == expected => outer,
            other => panic!("{other:?}"),
        }
    }

    /// It says that it failed and why, and returns the same.
    fn fails(self, expected: &[&str]) {
        let said = self.hear();
        let Said::Failed { message } = &said else {
            panic!("{said:?} instead of {expected:?}");
        };
        for part in expected {
            assert!(message.contains(part), "{message}");
        }
        let error = self.thread.join().unwrap().unwrap_err();
        assert_eq!(&error.to_string(), message);
    }

    fn end(self) -> Result<(), RunError> {
        self.orders.lock().unwrap().take();
        self.thread.join().unwrap()
    }
}

/// Standard input. It is dropped when its end was seen.
struct Input {
    queue: Receiver<String>,
    rest: Vec<u8>,
    _present: Sender<()>,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest
                .extend(self.queue.recv().into_iter().flat_map(String::into_bytes));
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.drain(..count);
        Ok(count)
    }
}

/// Standard output, a line a write.
struct Output {
    said: Sender<Said>,
    until: Option<u32>,
    orders: Arc<Mutex<Option<Sender<String>>>>,
    gone: Receiver<()>,
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let said = Said::read(std::str::from_utf8(line).unwrap()).unwrap();
        if let Said::Progress { round, .. } = said
            && self.until == Some(round)
        {
            self.orders.lock().unwrap().take();
            assert!(self.gone.recv().is_err(), "it hangs up; nothing is ever sent");
        }
        // A test that has heard enough is no reason to fail.
        let _ = self.said.send(said);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
