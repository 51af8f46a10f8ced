use crate::matrix::request;
use crate::world::{LONG, World, spec};
use api::{Bytes, Client, Orders, SiteJob};
use consortium::{
    Bounds, Digest, Found, Holder, JobId, Label, Mode, Phase, Presence, Reading, Rejection, Report, SiteId,
    Update, Usage,
};
use serde_json::Value;
use std::time::Duration;

/// A site as its process is: knows its orders by their tag, waits for others.
pub(crate) struct Site {
    id: SiteId,
    pub(crate) client: Client,
    known: String,
}

impl Site {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        Self {
            id: name.parse().unwrap(),
            client: world.site(name),
            known: String::new(),
        }
    }

    /// Sites `a` and `b`, which have joined a job for two and handed in what they learned in its first round.
    fn two_that_contributed(world: &World, job: JobId) -> [Self; 2] {
        let mut sites = ["a", "b"].map(|name| Self::new(world, name));
        for site in &mut sites {
            site.until(|job| job.presence == Presence::Expected);
            site.client.join(job).unwrap();
        }
        for site in &mut sites {
            site.until(|job| !job.open.is_empty());
            site.contribute(world, job, 1);
        }
        sites
    }

    /// The next orders that differ from the known ones.
    fn orders(&mut self) -> Orders {
        let (tag, orders) = self
            .client
            .orders(&self.id, 0, &self.known, LONG)
            .unwrap()
            .expect("in good time");
        self.known = tag;
        orders
    }

    pub(crate) fn until(&mut self, wanted: impl Fn(&SiteJob) -> bool) -> SiteJob {
        loop {
            if let Some(job) = self.orders().jobs.into_iter().find(&wanted) {
                return job;
            }
        }
    }

    fn contribute(&self, world: &World, job: JobId, attempt: u32) {
        let bytes = format!("what {} learned", self.id);
        let sent = world.bring(&self.client, bytes.as_bytes(), Label::Restricted);
        let update = Update {
            digest: sent.id.digest,
            bytes: sent.bytes,
            tokens: 640,
            parameters: 100,
            steps: 4,
            loss_micronats: 5_000_000,
            pace: None,
        };
        self.client.contribute(job, 0, attempt, &update).unwrap();
    }
}

#[test]
fn a_job_from_submission_to_settlement() {
    let world = World::new();
    let member = world.person("minji");
    let data = world.bring(&member, b"tokens", Label::Open);
    member.put(&world.folder.path().join("to-send"), &data).unwrap();
    let mut spec = spec();
    spec.inputs.insert("train.tokens".into(), data.id.digest);

    let job = member.submit(&spec, "once").unwrap();
    assert_eq!(
        member.submit(&spec, "once").unwrap(),
        job,
        "the same key is the same job"
    );
    let foreign = member
        .explain(job)
        .unwrap()
        .sites
        .into_iter()
        .find(|s| s.owner.contains("foreign"))
        .unwrap();
    assert!(
        foreign
            .because
            .contains("restricted-stays-closed-to-foreign-partners"),
        "{}",
        foreign.because
    );

    let (mut a, mut b) = (Site::new(&world, "a"), Site::new(&world, "b"));
    for site in [&mut a, &mut b] {
        site.until(|job| job.presence == Presence::Expected);
        let mut tokens = String::new();
        std::io::Read::read_to_string(&mut site.client.fetch(&data.id).unwrap(), &mut tokens).unwrap();
        assert_eq!(tokens, "tokens");
        assert_eq!(site.client.join(job).unwrap(), 1);
    }
    for site in [&mut a, &mut b] {
        let open = site.until(|job| !job.open.is_empty()).open.remove(0);
        assert_eq!(open.interval.end - open.interval.first, 64);
        site.contribute(&world, job, 1);
    }
    let outer = Digest::of(b"weights");
    for site in [&mut a, &mut b] {
        let closed = site.until(|job| !job.closed.is_empty()).closed;
        assert_eq!(closed[0].updates.len(), 2);
        for update in closed[0].updates.values() {
            let id = consortium::ArtifactId {
                project: spec.project.clone(),
                digest: update.digest,
            };
            site.client.fetch(&id).unwrap();
        }
        site.client.applied(job, 0, 1, &outer).unwrap();
        // More than the hub's clock allows is refused; so much has passed for certain.
        let total = Usage {
            millis: 3_000,
            sent: 10,
            received: 20,
            ..Usage::default()
        };
        site.client.meter(job, &Reading { attempt: 1, total }).unwrap();
    }
    let model = world.bring(&a.client, b"model", Label::Open);
    a.client.leave(job, 1, std::slice::from_ref(&model)).unwrap();
    a.client.leave(job, 1, std::slice::from_ref(&model)).unwrap();
    b.until(|job| job.results);
    b.client.leave(job, 1, &[]).unwrap();

    let view = member.job(job).unwrap();
    assert_eq!(view.job.phase, Phase::Done);
    let kept = member
        .artifacts(&spec.project)
        .unwrap()
        .into_iter()
        .find(|a| a.id == model.id)
        .unwrap();
    assert_eq!(
        kept.label,
        Label::Restricted,
        "what is made for a restricted job is restricted"
    );
    // 10^12 FLOP/s for 3 s at 1,000,000 and 1,100,000 won a PFLOP-hour: 0.83 and 0.91 won, rounded down.
    assert_eq!(view.spent.0, 0);
    let postings = member.postings(job).unwrap();
    let sums = postings
        .iter()
        .fold((0, 0), |(won, compute), p| (won + p.won.0, compute + p.compute.0));
    assert_eq!(sums, (0, 0));
    assert!(
        postings.len() >= 8,
        "reserved, used and given back at two sites: {postings:?}"
    );
    assert_eq!(world.person("head").ledger().unwrap().wrong, None);
}

/// Sites read each other's updates before they count, and what they find of them decides.
#[test]
fn an_update_that_both_sites_find_bad_does_not_count() {
    let world = World::new();
    let member = world.person("minji");
    let data = world.bring(&member, b"held out", Label::Open);
    member.put(&world.folder.path().join("to-send"), &data).unwrap();
    let mut spec = spec();
    spec.inputs.insert("valid.tokens".into(), data.id.digest);
    spec.rounds.mode = Some(Mode::Inspected(Bounds {
        held_out: Some("valid.tokens".into()),
        ..Bounds::default()
    }));
    let job = member.submit(&spec, "k").unwrap();
    let [mut a, mut b] = Site::two_that_contributed(&world, job);
    let reader = world.site("f");
    for site in [&mut a, &mut b] {
        let inspect = site.until(|job| job.inspect.is_some()).inspect.unwrap();
        assert_eq!(inspect.round, 0);
        let found = inspect.updates.iter().map(|(of, update)| {
            let id = consortium::ArtifactId {
                project: spec.project.clone(),
                digest: update.digest,
            };
            site.client.fetch(&id).unwrap();
            assert!(reader.fetch(&id).is_err(), "it goes to the job's sites alone");
            let loss = if of.as_str() == "b" { 9_000_000 } else { 4_000_000 };
            let (norm, loss) = (Some(1_000), Some(loss));
            (of.clone(), Found { norm, loss })
        });
        let report = Report {
            before: Some(5_000_000),
            found: found.collect(),
        };
        site.client.inspect(job, 0, 1, &report).unwrap();
    }
    let closed = b.until(|job| !job.closed.is_empty()).closed.remove(0);
    let loss = Rejection::Loss {
        before: 5_000_000,
        after: 9_000_000,
    };
    assert_eq!(closed.rejected, [(b.id.clone(), loss)].into());
    assert_eq!(closed.updates.keys().collect::<Vec<_>>(), [&a.id]);
    let told = member.explain(job).unwrap().rejected;
    assert_eq!(
        told,
        [
            "an update of b rejected, in round 0 because the held-out loss is 9.0000 with it and 5.0000 without"
        ]
    );
}

#[test]
fn a_restart_loses_nothing() {
    let world = World::new();
    let member = world.person("minji");
    let job = member.submit(&spec(), "k").unwrap();
    let before = member.job(job).unwrap();
    let world = world.restarted();
    let member = world.person("minji");
    assert_eq!(member.job(job).unwrap().job, before.job);
    assert_eq!(
        member.submit(&spec(), "k").unwrap(),
        job,
        "keys are remembered too"
    );
}

#[test]
fn a_site_that_falls_silent_is_lost_and_comes_back() {
    let world = World::with(|config| server::HubConfig {
        lose_after: Duration::ZERO,
        tick: Duration::from_millis(1),
        ..config
    });
    let member = world.person("minji");
    let job = member.submit(&spec(), "k").unwrap();
    let (mut a, mut b) = (Site::new(&world, "a"), Site::new(&world, "b"));
    a.client.join(job).unwrap();
    b.client.join(job).unwrap();
    // Nothing of site a is open now, so it is silent. A request of its own would be a sign of life.
    let mut view = member.job(job).unwrap();
    while view.job.members[&a.id].presence != Presence::Lost {
        view = member.job_after(job, view.seq, LONG).unwrap();
    }
    a.until(|job| job.presence == Presence::Lost);
    assert_eq!(a.client.join(job).unwrap(), 2, "a new attempt");
    let late = a.client.fail(job, 1, "too late").unwrap_err();
    assert_eq!(late.status(), Some(409), "{late}");
    b.until(|job| job.attempt >= 1);
}

#[test]
fn orders_are_told_once() {
    let world = World::new();
    let mut a = Site::new(&world, "a");
    assert!(a.orders().jobs.is_empty());
    let again = a.client.orders(&a.id, 0, &a.known, Duration::ZERO).unwrap();
    assert_eq!(again, None, "nothing new");
    world.person("minji").submit(&spec(), "k").unwrap();
    assert_eq!(a.orders().jobs.len(), 1);
}

/// Every way to a byte of an update or a checkpoint, and to a word about them.
#[test]
fn what_a_restricted_run_learns_goes_to_its_sites_and_people_alone() {
    let world = World::new();
    let member = world.person("minji");
    let mut spec = spec();
    spec.rounds.count = 3;
    let job = member.submit(&spec, "k").unwrap();
    let [mut a, mut b] = Site::two_that_contributed(&world, job);
    let outer = Digest::of(b"weights");
    let closed = a.until(|job| !job.closed.is_empty()).closed.remove(0);
    a.client.applied(job, 0, 1, &outer).unwrap();
    let sent = world.bring(&a.client, b"what all agree on", Label::Restricted);
    let kept = Bytes {
        digest: sent.id.digest,
        bytes: sent.bytes,
    };
    // Whoever has not brought the bytes can't have them kept.
    let forged = b.client.checkpoint(job, 0, 1, &kept).unwrap_err();
    assert_eq!(forged.status(), Some(422), "{forged}");
    a.client.checkpoint(job, 0, 1, &kept).unwrap();
    let told = b.until(|job| job.checkpoint.is_some()).checkpoint.unwrap();
    assert_eq!((told.digest, told.outer), (kept.digest, outer));

    let digests = closed.updates.values().map(|update| update.digest);
    let digests: Vec<Digest> = digests.chain([kept.digest]).collect();
    let people = ["minji", "head", "jun", "ingrid"].map(|name| (name, world.person(name)));
    let sites = ["a", "b", "f"].map(|name| (name, world.site(name)));
    let table = people.iter().chain(&sites).map(|(name, client)| {
        let fetched = digests.iter().filter(|digest| {
            let id = consortium::ArtifactId {
                project: spec.project.clone(),
                digest: **digest,
            };
            client.fetch(&id).is_ok()
        });
        let (fetched, listed) = (
            fetched.count(),
            client.artifacts(&spec.project).unwrap_or_default(),
        );
        let listed = listed
            .iter()
            .filter(|artifact| digests.contains(&artifact.id.digest))
            .count();
        format!(
            "{name}: {fetched} fetched, {listed} listed, job {}",
            client.job(job).is_ok()
        )
    });
    let expected = [
        "minji: 3 fetched, 3 listed, job true",
        "head: 3 fetched, 3 listed, job true",
        "jun: 0 fetched, 0 listed, job false",
        "ingrid: 0 fetched, 0 listed, job false",
        "a: 3 fetched, 3 listed, job true",
        "b: 3 fetched, 3 listed, job true",
        "f: 0 fetched, 0 listed, job false",
    ];
    assert_eq!(table.collect::<Vec<_>>(), expected);
    // The foreign site has no part in it, whatever it says.
    let foreign = world.site("f");
    assert!(foreign.join(job).is_err());
    assert!(foreign.applied(job, 0, 1, &outer).is_err());
    assert!(foreign.reset(job, 1, 0).is_err());
    let (_, orders) = foreign
        .orders(&"f".parse().unwrap(), 0, "", Duration::ZERO)
        .unwrap()
        .unwrap();
    assert!(orders.jobs.is_empty());
}

#[test]
fn lists_are_told_in_parts() {
    let world = World::new();
    let minji = world.person("minji");
    for n in 0..5 {
        minji.submit(&spec(), &n.to_string()).unwrap();
    }
    let token = world.hub.issue(Holder::Person("minji".parse().unwrap())).unwrap();
    let ask = |path: &str| -> (u16, Value) {
        let path = format!("/api/v1{path}");
        let (status, text) = request(&world.hub.url(), &token, "GET", &path, &Value::Null);
        let body = text.split_once("\r\n\r\n").unwrap().1;
        (status, serde_json::from_str(body).unwrap_or_default())
    };
    let names = |path: &str, at: &str| -> Vec<String> {
        let (status, all) = ask(path);
        assert_eq!(status, 200, "{path}");
        all.as_array()
            .unwrap()
            .iter()
            .map(|it| it.pointer(at).unwrap().as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("/jobs?limit=2", "/id"), ["job-5", "job-4"]);
    assert_eq!(names("/jobs?limit=2&before=job-4", "/id"), ["job-3", "job-2"]);
    assert_eq!(names("/jobs?before=job-2&project=reviews", "/id"), ["job-1"]);
    assert!(names("/jobs?project=another", "/id").is_empty());
    assert!(names("/jobs?submitter=head", "/id").is_empty());
    assert_eq!(minji.jobs().unwrap().len(), 5);

    let queue = minji.queue().unwrap();
    let jobs: Vec<String> = queue.iter().map(|waits| waits.job.to_string()).collect();
    assert!(jobs.len() > 1, "{jobs:?}");
    assert_eq!(names("/queue?limit=1", "/job"), jobs[..1]);
    assert_eq!(
        names(&format!("/queue?after={}", queue[0].place), "/job"),
        jobs[1..]
    );
    assert!(names("/queue?organisation=fjord", "/job").is_empty());

    // A record's postings are told together.
    let postings = minji.postings(JobId(1)).unwrap();
    let first = postings.iter().filter(|it| it.seq == postings[0].seq);
    let first: Vec<String> = first.map(|it| it.account.to_string()).collect();
    assert!(first.len() > 1, "{first:?}");
    assert_eq!(names("/jobs/job-1/postings?limit=1", "/account"), first);
    let path = format!("/jobs/job-1/postings?after={}", postings[0].seq);
    assert_eq!(names(&path, "/account").len(), postings.len() - first.len());
    let path = format!("/jobs/job-1/postings?account={}", first[0]);
    assert!(
        names(&path, "/account")
            .iter()
            .all(|account| *account == first[0])
    );

    assert_eq!(names("/organisations?limit=2", "/id"), ["cloud", "fjord"]);
    assert_eq!(names("/organisations?after=fjord", "/id"), ["gaon", "office"]);
    assert_eq!(names("/sites?after=a&limit=1", "/site/id"), ["b"]);
    assert_eq!(names("/projects?after=reviews", "/id"), [""; 0]);
    assert_eq!(names("/awards?limit=9", "/award/id"), ["reviews-2021"]);
    assert_eq!(names("/organisations?home=foreign", "/id"), ["fjord"]);
    assert_eq!(names("/organisations?standing=left", "/id"), [""; 0]);
    assert_eq!(names("/sites?owner=fjord", "/site/id"), ["f"]);
    assert_eq!(names("/projects?programme=folding", "/id"), [""; 0]);
    assert_eq!(names("/awards?project=another", "/award/id"), [""; 0]);

    for (text, label) in [("x", Label::Open), ("y", Label::Restricted), ("z", Label::Open)] {
        let sent = world.bring(&minji, text.as_bytes(), label);
        minji.put(&world.folder.path().join("to-send"), &sent).unwrap();
    }
    let path = "/projects/reviews/artifacts";
    let all = names(path, "/id");
    let first = all[0].split_once('/').unwrap().1;
    assert_eq!(names(&format!("{path}?limit=1"), "/id"), all[..1]);
    assert_eq!(names(&format!("{path}?after={first}"), "/id"), all[1..]);
    assert_eq!(names(&format!("{path}?label=open&kind=dataset"), "/id").len(), 2);
    assert!(names(&format!("{path}?kind=model"), "/id").is_empty());
    for bad in [
        "/jobs?limit=many",
        "/jobs?limit=0",
        "/queue?limit=1001",
        "/organisations?after=A%20B",
        "/projects/reviews/artifacts?label=secret",
    ] {
        assert_eq!(ask(bad).0, 400, "{bad}");
    }
}
