use super::ask::Miss;
use super::tree::CHUNK;
use super::*;
use crate::step::tests::job;
use std::fs;
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

/// A site with its exchange, and the notes that it makes.
struct Place {
    id: SiteId,
    exchange: Arc<Exchange>,
    folder: TempDir,
    notes: Receiver<Word>,
}

impl Place {
    fn new(name: &str) -> Self {
        let serve = Some("127.0.0.1:0".parse().unwrap());
        Self::with(
            name,
            &ExchangeConfig {
                serve,
                ..ExchangeConfig::default()
            },
        )
        .unwrap()
    }

    fn with(name: &str, config: &ExchangeConfig) -> Result<Self, SiteError> {
        let (folder, id) = (tempfile::tempdir().unwrap(), name.parse().unwrap());
        let (tell, notes) = channel();
        let exchange = Exchange::open(config, folder.path(), &id, tell)?;
        Ok(Self {
            id,
            exchange,
            folder,
            notes,
        })
    }

    /// Hears of the hub who else is in the job.
    fn hears_of(&self, others: &[(&Place, Contact)]) {
        let mut job = job(0);
        job.peers = others
            .iter()
            .map(|(other, contact)| (other.id.clone(), contact.clone()))
            .collect();
        self.exchange
            .hear(Some(&Orders { jobs: vec![job] }), self.exchange.now());
    }

    fn has(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        self.exchange.keep(job(0).id, Digest::of(bytes), &path);
        path
    }

    /// What is beside the file once other sites were asked.
    fn takes(&self, digest: &Digest, from: &[&Place]) -> PartFile {
        let path = self.folder.path().join("taken");
        let peers: Vec<SiteId> = from.iter().map(|other| other.id.clone()).collect();
        self.exchange.take(job(0).id, digest, &path, &peers).unwrap();
        PartFile::open(&path, digest).unwrap()
    }

    fn missed(&self, digest: &Digest, from: &Place) -> Miss {
        let link = self.exchange.link(job(0).id, &from.id).expect("it may be asked");
        let mut part = PartFile::open(&self.folder.path().join("missed"), digest).unwrap();
        link.take(job(0).id, digest, &mut part).expect_err("it misses")
    }

    fn noted(&self) -> String {
        let notes = self.notes.try_iter().map(|word| match word {
            Word::Note(line) => line,
            _ => String::new(),
        });
        notes.collect::<Vec<_>>().join("\n")
    }
}

/// All hear of each other.
fn meet(places: &[&Place]) {
    for place in places {
        let others = places.iter().filter(|other| other.id != place.id);
        place.hears_of(
            &others
                .map(|other| (*other, other.exchange.contact()))
                .collect::<Vec<_>>(),
        );
    }
}

fn bytes(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i * 31 / 7 + i / 1009) as u8).collect()
}

#[test]
fn a_site_takes_a_file_from_another_and_goes_on_where_it_was() {
    let (seoul, busan) = (Place::new("seoul-1"), Place::new("busan-1"));
    meet(&[&seoul, &busan]);
    for len in [1, CHUNK, 3 * CHUNK + 5] {
        let file = bytes(len);
        let digest = Digest::of(&file);
        seoul.has("file", &file);
        let part = busan.takes(&digest, &[&seoul]);
        assert!(part.is_whole(&digest) && part.have() == len);
        let _ = fs::remove_dir_all(busan.folder.path().join("taken"));
    }
    // Some of it came before, from wherever; and something else that was taken for it.
    for begun in [&bytes(CHUNK * 3 / 2)[..], &[7; 2 * CHUNK as usize + 9]] {
        let file = bytes(4 * CHUNK);
        let digest = Digest::of(&file);
        seoul.has("file", &file);
        let path = busan.folder.path().join("resumed");
        PartFile::open(&path, &digest).unwrap().add(begun).unwrap();
        for _ in 0..2 {
            busan
                .exchange
                .take(job(0).id, &digest, &path, std::slice::from_ref(&seoul.id))
                .unwrap();
        }
        let part = PartFile::open(&path, &digest).unwrap();
        assert!(part.is_whole(&digest), "{} bytes", part.have());
        part.keep_as(&path).unwrap();
    }
    assert_eq!(busan.noted(), "");
    busan.exchange.hear(Some(&Orders::default()), Duration::ZERO);
    assert!(busan.noted().contains("MB came from other sites"));
}

#[test]
fn nobody_is_answered_but_sites_of_the_job() {
    let (seoul, busan, thief) = (
        Place::new("seoul-1"),
        Place::new("busan-1"),
        Place::new("thief-1"),
    );
    let file = bytes(100);
    let digest = Digest::of(&file);
    meet(&[&seoul, &busan]);
    seoul.has("file", &file);
    // It has heard of Seoul, and Seoul hasn't of it.
    thief.hears_of(&[(&seoul, seoul.exchange.contact())]);
    assert!(matches!(thief.missed(&digest, &seoul), Miss::Away(_)));
    // Nor does it help to be called by another's name.
    let busan_says = Contact {
        address: seoul.exchange.contact().address,
        ..busan.exchange.contact()
    };
    thief.hears_of(&[(&seoul, busan_says)]);
    assert!(matches!(thief.missed(&digest, &seoul), Miss::Away(_)));
    // One that is in another job here is known, and gets nothing.
    let mut other = job(0);
    other.id = JobId(other.id.0 + 1);
    other.peers = [(thief.id.clone(), thief.exchange.contact())].into();
    let mut ours = job(0);
    ours.peers = [(busan.id.clone(), busan.exchange.contact())].into();
    seoul.exchange.hear(
        Some(&Orders {
            jobs: vec![ours, other],
        }),
        seoul.exchange.now(),
    );
    seoul.has("file", &file);
    thief.hears_of(&[(&seoul, seoul.exchange.contact())]);
    assert!(matches!(thief.missed(&digest, &seoul), Miss::Absent));
    assert!(busan.takes(&digest, &[&seoul]).is_whole(&digest));
    // Its connection stays open, and is worth nothing as soon as the hub names another certificate.
    let link = busan.exchange.link(job(0).id, &seoul.id).unwrap();
    seoul.hears_of(&[(&busan, thief.exchange.contact())]);
    let mut part = PartFile::open(&busan.folder.path().join("again"), &digest).unwrap();
    let missed = link.take(job(0).id, &digest, &mut part);
    assert!(matches!(missed, Err(Miss::Absent)), "{missed:?}");
}

#[test]
fn a_site_with_another_certificate_than_the_hub_told_of_is_not_asked() {
    let (seoul, busan, false_seoul) = (
        Place::new("seoul-1"),
        Place::new("busan-1"),
        Place::new("seoul-1"),
    );
    let file = bytes(100);
    false_seoul.has("file", &file);
    false_seoul.hears_of(&[(&busan, busan.exchange.contact())]);
    false_seoul.has("file", &file);
    let led_astray = Contact {
        address: false_seoul.exchange.contact().address,
        ..seoul.exchange.contact()
    };
    busan.hears_of(&[(&seoul, led_astray)]);
    let part = busan.takes(&Digest::of(&file), &[&seoul]);
    assert_eq!(part.have(), 0);
    assert!(
        busan.noted().contains("site seoul-1 can't be asked"),
        "and for a while it isn't any more"
    );
    assert!(busan.exchange.link(job(0).id, &seoul.id).is_none());
}

#[test]
fn wrong_chunks_are_not_taken_and_the_next_site_goes_on() {
    let (seoul, busan, jeju) = (Place::new("seoul-1"), Place::new("busan-1"), Place::new("jeju-1"));
    meet(&[&seoul, &busan, &jeju]);
    let file = bytes(4 * CHUNK);
    let digest = Digest::of(&file);
    let at_seoul = seoul.has("file", &file);
    assert!(
        jeju.takes(&digest, &[&seoul]).is_whole(&digest),
        "now its chunks' values are known"
    );
    let mut wrong = file.clone();
    wrong[2 * CHUNK as usize + 100] ^= 1;
    fs::write(&at_seoul, &wrong).unwrap();
    let part = busan.takes(&digest, &[&seoul]);
    assert_eq!(part.have(), 2 * CHUNK, "those before are right");
    let noted = busan.noted();
    assert!(
        noted.contains("site seoul-1 hands out wrong bytes") && noted.contains("600 s"),
        "{noted}"
    );
    // A file that has become shorter breaks off.
    fs::write(&at_seoul, &file[..CHUNK as usize + 1]).unwrap();
    assert!(matches!(
        busan.missed(&digest, seoul_again(&seoul, &busan)),
        Miss::Away(_)
    ));
    jeju.has("file", &file);
    assert!(busan.takes(&digest, &[&seoul, &jeju]).is_whole(&digest));
}

/// What was noted of Seoul is forgotten as soon as it says something new of itself.
fn seoul_again<'a>(seoul: &'a Place, busan: &Place) -> &'a Place {
    busan.exchange.lock().links.clear();
    seoul
}

#[test]
fn what_was_removed_is_not_there() {
    let (seoul, busan) = (Place::new("seoul-1"), Place::new("busan-1"));
    meet(&[&seoul, &busan]);
    let file = bytes(10);
    let path = seoul.has("file", &file);
    fs::remove_file(path).unwrap();
    assert!(matches!(busan.missed(&Digest::of(&file), &seoul), Miss::Absent));
    assert_eq!(busan.takes(&Digest::of(&file), &[&seoul]).have(), 0);
    assert_eq!(busan.noted(), "", "that is no trouble");
}

#[test]
fn where_a_site_is_reached_is_told_or_plain() {
    let place = |serve: &str, reach: Option<&str>| {
        let config = ExchangeConfig {
            serve: Some(serve.parse().unwrap()),
            reach: reach.map(str::to_owned),
            ..ExchangeConfig::default()
        };
        let place = Place::with("seoul-1", &config)?;
        Ok::<_, SiteError>(place.exchange.contact().address.unwrap())
    };
    assert!(
        place("127.0.0.1:0", None)
            .unwrap()
            .starts_with("https://127.0.0.1:")
    );
    assert!(
        place("0.0.0.0:0", Some("seoul.example.kr"))
            .unwrap()
            .starts_with("https://seoul.example.kr:")
    );
    assert_eq!(
        place("0.0.0.0:0", Some("seoul.example.kr:7443")).unwrap(),
        "https://seoul.example.kr:7443"
    );
    assert_eq!(
        place("0.0.0.0:0", Some("[2001:db8::1]:7443")).unwrap(),
        "https://[2001:db8::1]:7443"
    );
    let told = |error: SiteError| error.to_string();
    assert!(told(place("0.0.0.0:0", None).unwrap_err()).contains("every address of this machine"));
    assert!(told(place("127.0.0.1:0", Some("https://seoul/")).unwrap_err()).contains("HOST:PORT"));
    let silent = Place::with("seoul-1", &ExchangeConfig::default()).unwrap();
    assert_eq!(silent.exchange.contact().address, None);
}

#[test]
fn any_bytes_for_a_head_give_a_tree_or_a_miss() {
    let digest = Digest::of(b"a file");
    let mut state = 1u64;
    for len in 0..600usize {
        let bytes: Vec<u8> = (0..len)
            .map(|i| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                // Small lengths are the interesting ones.
                if (3..8).contains(&i) {
                    0
                } else {
                    (state >> 56) as u8
                }
            })
            .collect();
        if let Ok(tree) = ask::head(&mut bytes.as_slice(), &digest) {
            assert!(tree.len <= CHUNK, "of more chunks the digest tells");
        }
    }
}
