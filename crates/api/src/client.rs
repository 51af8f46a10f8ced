use crate::Problem;
use crate::wire::{
    Board, Bytes, Credential, Done, Health, Issued, JobLine, JobView, LedgerView, LogPart, Me, OfferView,
    Orders, OrganisationView, PersonView, PostingView, Progress, ProjectView, RatingView, ReleaseView,
    Ruling, SiteView,
};
use consortium::explain::{Explanation, Waiting};
use consortium::watch::Terms;
use consortium::{
    Abilities, Artifact, ArtifactId, Award, Digest, Exit, Factor, Holder, JobId, JobSpec, Label, MaskKey,
    ModelId, NewOffer, Organisation, OrganisationId, Output, Person, PersonId, Programme, Project, ProjectId,
    Publication, Reading, Report, Role, Scope, Seeds, Site, SiteId, Standing, Update, Won,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Request, Response, header};
use ureq::{AsSendBody, Body};

/// The hub, for the bearer of one token. Clones share connections.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    token: String,
    listener: Option<Listener>,
    tries: u32,
    pieces: bool,
}

/// Hears how many bytes of how many a transfer has come to.
type Listener = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// Why the hub gave no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// It answered, with a no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// It didn't answer.
    #[error("the hub at {url} can't be reached: {why}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened instead.
        why: String,
    },
    /// Something answered that is no hub, or of another version.
    #[error("{url} answers, but not as a khub hub does: {why}")]
    Strange {
        /// What was asked.
        url: String,
        /// What came back.
        why: String,
    },
    /// The connection ended in the middle of an artifact.
    #[error("the transfer of {id} broke off: {why}")]
    BrokeOff {
        /// Which artifact.
        id: ArtifactId,
        /// What happened.
        why: io::Error,
    },
    /// An artifact's bytes aren't its own.
    #[error("{id} arrived with digest {found}")]
    Wrong {
        /// Which artifact.
        id: ArtifactId,
        /// What its bytes are.
        found: Digest,
    },
    /// A local file couldn't be read or written.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// Why.
        why: io::Error,
    },
}

impl ApiError {
    /// The hub's refusal, if that is what it is.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer with one.
    pub fn status(&self) -> Option<u16> {
        self.problem().map(|problem| problem.status)
    }
}

pub(crate) type Answer<T> = Result<T, ApiError>;

/// How much of a list is asked for at a time.
const PART: usize = 500;

impl Client {
    /// A client of the hub at `url`, as the bearer of `token`.
    pub fn new(url: &str, token: &str) -> Answer<Self> {
        let plain = token.bytes().all(|b| b.is_ascii_graphic()) && url.parse::<ureq::http::Uri>().is_ok();
        if !plain {
            let why = "the address or the token has characters that can't travel in a header".to_owned();
            return Err(ApiError::Strange {
                url: url.to_owned(),
                why,
            });
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(5)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            // A site has five ways to its hub, and one that waits for orders; each keeps its connection.
            .max_idle_connections_per_host(6)
            .user_agent(concat!("khub/", env!("CARGO_PKG_VERSION")))
            .build();
        let url = format!("{}/api/v1", url.trim_end_matches('/'));
        Ok(Self {
            agent: config.new_agent(),
            url,
            token: token.to_owned(),
            listener: None,
            tries: 0,
            pieces: false,
        })
    }

    /// The same client, whose transfers go on by themselves when they break off, until `tries` in a row were in vain. There
    /// are longer and longer waits between them: eight take half a minute.
    #[must_use]
    pub fn trying(self, tries: u32) -> Self {
        Self { tries, ..self }
    }

    /// The same client, whose uploads go piece by piece, each some seconds long: no more than that lies in buffers on the
    /// way, where whatever else goes over the link would have to wait behind it.
    #[must_use]
    pub fn in_pieces(self) -> Self {
        Self { pieces: true, ..self }
    }

    pub(crate) fn goes_in_pieces(&self) -> bool {
        self.pieces
    }

    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// The same client, of which `listener` hears how many bytes of how many a transfer has come to.
    #[must_use]
    pub fn telling(self, listener: impl Fn(u64, u64) + Send + Sync + 'static) -> Self {
        Self {
            listener: Some(Arc::new(listener)),
            ..self
        }
    }

    pub(crate) fn tell(&self, done: u64, of: u64) {
        if let Some(listener) = &self.listener {
            listener(done, of);
        }
    }

    /// What the hub counts, in Prometheus' text format; for whoever may audit.
    pub fn metrics(&self) -> Answer<String> {
        self.text("/metrics")
    }

    /// The newest revision of a model, in the words of the Hugging Face Hub.
    pub fn model(&self, model: &ModelId) -> Answer<String> {
        self.text(&format!("/api/models/{model}"))
    }

    /// The text that is at a path of the hub, as `/api/v1/jobs`.
    pub fn text(&self, path: &str) -> Answer<String> {
        let root = Self {
            url: self.url.trim_end_matches("/api/v1").to_owned(),
            ..self.clone()
        };
        let mut response = root.run("GET", path, (), |request| request)?;
        let text = response.body_mut().read_to_string();
        text.map_err(|e| root.strange(path, &e.to_string()))
    }

    /// Whether the hub is there.
    pub fn health(&self) -> Answer<Health> {
        self.get("/health")
    }

    /// Who the bearer is.
    pub fn me(&self) -> Answer<Me> {
        self.get("/me")
    }

    // ---- the programme office ----

    /// Lets an organisation in.
    pub fn admit(&self, organisation: &Organisation) -> Answer<Done> {
        self.post("/organisations", organisation)
    }

    /// Who is in, and how they stand.
    pub fn organisations(&self) -> Answer<Vec<OrganisationView>> {
        self.list("/organisations", "after", |it: &OrganisationView| {
            &it.organisation.id
        })
    }

    /// Suspends an organisation, lets it go, or has it back, on some ground.
    pub fn set_standing(
        &self,
        organisation: &OrganisationId,
        standing: Standing,
        ground: &str,
    ) -> Answer<Done> {
        self.post(
            &format!("/organisations/{organisation}/standing"),
            &(standing, ground),
        )
    }

    /// Proposes to make an artifact less closed, or agrees to it.
    pub fn release(&self, artifact: &ArtifactId, to: Label) -> Answer<Done> {
        self.post("/releases", &(artifact, to))
    }

    /// What is proposed to be made less closed, of what the bearer may decide about.
    pub fn releases(&self) -> Answer<Vec<ReleaseView>> {
        self.list("/releases", "after", |it: &ReleaseView| &it.artifact.id)
    }

    /// When machines count as held idle, and what follows; none if nobody is watched.
    pub fn watch(&self) -> Answer<Option<Terms>> {
        self.get("/watch")
    }

    /// Watches for machines that are held idle, by these terms; or doesn't any more.
    pub fn set_watch(&self, terms: Option<&Terms>) -> Answer<Done> {
        self.post("/watch", &terms)
    }

    /// Gives an award back what was taken because of a job, on some ground.
    pub fn give_back(&self, job: JobId, ground: &str) -> Answer<Done> {
        self.post(&format!("/jobs/{job}/give-back"), &ground)
    }

    /// Lets a person act for an organisation.
    pub fn add_person(&self, person: &Person) -> Answer<Done> {
        self.post("/people", person)
    }

    /// Who acts for whom.
    pub fn people(&self) -> Answer<Vec<PersonView>> {
        self.list("/people", "after", |it: &PersonView| &it.person.id)
    }

    /// Gives a person these roles and no others, on some ground.
    pub fn set_roles(&self, person: &PersonId, roles: &BTreeSet<Role>, ground: &str) -> Answer<Done> {
        self.post(&format!("/people/{person}/roles"), &(roles, ground))
    }

    /// Keeps a person out, or has them back, on some ground.
    pub fn set_person_standing(&self, person: &PersonId, standing: Standing, ground: &str) -> Answer<Done> {
        self.post(&format!("/people/{person}/standing"), &(standing, ground))
    }

    /// Changes who works in a project.
    pub fn enrol(
        &self,
        project: &ProjectId,
        join: &BTreeSet<PersonId>,
        leave: &BTreeSet<PersonId>,
    ) -> Answer<Done> {
        self.post(&format!("/projects/{project}/members"), &(join, leave))
    }

    /// Adds a site.
    pub fn add_site(&self, site: &Site) -> Answer<Done> {
        self.post("/sites", site)
    }

    /// What a site's owner asks, and asked before.
    pub fn offers(&self, site: &SiteId) -> Answer<Vec<OfferView>> {
        self.list(&format!("/sites/{site}/offers"), "after", |it: &OfferView| {
            &it.version
        })
    }

    /// Takes another offer of a site's owner.
    pub fn take_offer(&self, site: &SiteId, offer: &NewOffer) -> Answer<Done> {
        self.post(&format!("/sites/{site}/offers"), offer)
    }

    /// How fast a GPU of each sort is taken to be.
    pub fn gpus(&self) -> Answer<Vec<RatingView>> {
        self.list("/gpus", "after", |it: &RatingView| &it.gpu)
    }

    /// Says how fast a GPU of one sort is taken to be.
    pub fn rate(&self, factor: &Factor) -> Answer<Done> {
        self.post("/gpus", factor)
    }

    /// Opens a project.
    pub fn open_project(&self, project: &Project) -> Answer<Done> {
        self.post("/projects", project)
    }

    /// Books the ministry's money for a fiscal year.
    pub fn appropriate(&self, year: u16, won: Won) -> Answer<Done> {
        self.post("/appropriations", &(year, won))
    }

    /// The same under `key`, at most once however often it is asked.
    pub fn appropriate_once(&self, year: u16, won: Won, key: &str) -> Answer<Done> {
        self.post_keyed("/appropriations", &(year, won), Some(key))
    }

    /// Gives money and compute to a project.
    pub fn grant(&self, award: &Award) -> Answer<Done> {
        self.post("/awards", award)
    }

    /// Puts a project's artifacts together as a model under a name.
    pub fn publish(&self, publication: &Publication) -> Answer<Done> {
        self.post("/models", publication)
    }

    /// Makes a token that speaks for `holder`.
    pub fn issue(&self, holder: Holder) -> Answer<Issued> {
        self.issue_limited(holder, None, Scope::Full)
    }

    /// The same for so many days, and so far.
    pub fn issue_limited(&self, holder: Holder, days: Option<u32>, scope: Scope) -> Answer<Issued> {
        let asked = Credential { holder, days, scope };
        self.post("/credentials", &asked)
    }

    /// Makes a token worthless.
    pub fn revoke(&self, token: &str) -> Answer<Done> {
        self.bare(
            "DELETE",
            &format!("/credentials/{}", Digest::of(token.as_bytes())),
        )
    }

    // ---- people ----

    /// The consortium's sites.
    pub fn sites(&self) -> Answer<Vec<SiteView>> {
        self.list("/sites", "after", |it: &SiteView| &it.site.id)
    }

    /// Asks for a job; under the same `key` at most once.
    pub fn submit(&self, spec: &JobSpec, key: &str) -> Answer<JobId> {
        let done: Done = self.post_keyed("/jobs", spec, Some(key))?;
        done.job
            .ok_or_else(|| self.strange("/jobs", "a submission without a job"))
    }

    /// The jobs that the bearer may know about, newest first.
    pub fn jobs(&self) -> Answer<Vec<JobLine>> {
        self.list("/jobs", "before", |it: &JobLine| &it.id)
    }

    /// One job.
    pub fn job(&self, job: JobId) -> Answer<JobView> {
        self.get(&format!("/jobs/{job}"))
    }

    /// The job, once the log has a record after `after`, or as it is when `wait` is over.
    pub fn job_after(&self, job: JobId, after: u64, wait: Duration) -> Answer<JobView> {
        self.get(&format!("/jobs/{job}?after={after}&wait={}", wait.as_secs()))
    }

    /// Who waits, as far as you may know, first in the queue first.
    pub fn queue(&self) -> Answer<Vec<Waiting>> {
        self.list("/queue", "after", |it: &Waiting| &it.place)
    }

    /// The policy in force.
    pub fn policy(&self) -> Answer<String> {
        self.get("/policy")
    }

    /// What `who` may do with `what`: see `khub policy explain`.
    pub fn explain_policy(&self, who: &str, what: &str) -> Answer<Vec<Ruling>> {
        let plain = |text: &str| {
            let bytes = text.bytes();
            bytes
                .map(|b| match b {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'/' | b':' => char::from(b).to_string(),
                    other => format!("%{other:02X}"),
                })
                .collect::<String>()
        };
        self.get(&format!(
            "/policy/explanation?who={}&what={}",
            plain(who),
            plain(what)
        ))
    }

    /// Why a job is where it is.
    pub fn explain(&self, job: JobId) -> Answer<Explanation> {
        self.get(&format!("/jobs/{job}/explanation"))
    }

    /// The job's postings in the ledger.
    pub fn postings(&self, job: JobId) -> Answer<Vec<PostingView>> {
        let path = format!("/jobs/{job}/postings");
        self.list(&path, "after", |it: &PostingView| &it.seq)
    }

    /// Ends the job.
    pub fn cancel(&self, job: JobId) -> Answer<Done> {
        self.bare("POST", &format!("/jobs/{job}/cancel"))
    }

    /// Every account.
    pub fn ledger(&self) -> Answer<LedgerView> {
        let mut ledger: LedgerView = self.get(&format!("/ledger?limit={PART}"))?;
        let mut has_more = ledger.accounts.len() == PART;
        while let Some((last, _)) = ledger.accounts.last().filter(|_| has_more) {
            let more: LedgerView = self.get(&format!("/ledger?limit={PART}&after={last}"))?;
            has_more = more.accounts.len() == PART;
            ledger.accounts.extend(more.accounts);
        }
        Ok(ledger)
    }

    /// The projects that the bearer may know of.
    pub fn projects(&self) -> Answer<Vec<ProjectView>> {
        self.list("/projects", "after", |it: &ProjectView| &it.id)
    }

    /// A programme's results, of the reports that the bearer may read: the first of each ranking.
    pub fn board(&self, programme: Programme) -> Answer<Board> {
        self.get(&format!("/programmes/{programme}/board?limit={PART}"))
    }

    /// The artifacts of `project` that the bearer may read.
    pub fn artifacts(&self, project: &ProjectId) -> Answer<Vec<Artifact>> {
        let path = format!("/projects/{project}/artifacts");
        self.list(&path, "after", |it: &Artifact| &it.id.digest)
    }

    // ---- sites ----

    /// What `site` is to do, with the rounds from `from` on: waits up to `wait` for something other than
    /// `known`; none if there is nothing new. The text that comes with it is the next `known`.
    pub fn orders(
        &self,
        site: &SiteId,
        from: u32,
        known: &str,
        wait: Duration,
    ) -> Answer<Option<(String, Orders)>> {
        let path = format!("/sites/{site}/orders?from={from}&wait={}", wait.as_secs());
        let response = self.run("GET", &path, (), |request| {
            request.header(header::IF_NONE_MATCH, known)
        })?;
        if response.status() == 304 {
            return Ok(None);
        }
        let tag = response
            .headers()
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok());
        let tag = tag.unwrap_or_default().to_owned();
        Ok(Some((tag, self.json(&path, response)?)))
    }

    /// A site's process says what it can do.
    pub fn tell_abilities(&self, site: &SiteId, abilities: &Abilities) -> Answer<Done> {
        self.post(&format!("/sites/{site}/abilities"), abilities)
    }

    /// Begins a new attempt; returns its number.
    pub fn join(&self, job: JobId) -> Answer<u32> {
        let path = format!("/jobs/{job}/join");
        let done: Done = self.bare("POST", &path)?;
        done.attempt
            .ok_or_else(|| self.strange(&path, "a join without an attempt"))
    }

    /// Hands in what the site learned in a round.
    pub fn contribute(&self, job: JobId, round: u32, attempt: u32, update: &Update) -> Answer<Done> {
        self.post(
            &format!("/jobs/{job}/rounds/{round}/updates?attempt={attempt}"),
            update,
        )
    }

    /// Tells what the site found of a round's updates before they count.
    pub fn inspect(&self, job: JobId, round: u32, attempt: u32, report: &Report) -> Answer<Done> {
        self.post(
            &format!("/jobs/{job}/rounds/{round}/reports?attempt={attempt}"),
            report,
        )
    }

    /// Tells with which key the others are to make masks with the site.
    pub fn tell_key(&self, job: JobId, attempt: u32, key: &MaskKey) -> Answer<Done> {
        self.post(&format!("/jobs/{job}/key?attempt={attempt}"), key)
    }

    /// Has the site's masks of a round lifted.
    pub fn unmask(&self, job: JobId, round: u32, attempt: u32, seeds: &Seeds) -> Answer<Done> {
        self.post(
            &format!("/jobs/{job}/rounds/{round}/seeds?attempt={attempt}"),
            seeds,
        )
    }

    /// Tells what the site got by applying a round.
    pub fn applied(&self, job: JobId, round: u32, attempt: u32, outer: &Digest) -> Answer<Done> {
        self.post(
            &format!("/jobs/{job}/rounds/{round}/outer?attempt={attempt}"),
            outer,
        )
    }

    /// Keeps what all agree on after a round; the bytes are uploaded.
    pub fn checkpoint(&self, job: JobId, round: u32, attempt: u32, kept: &Bytes) -> Answer<Done> {
        self.post(
            &format!("/jobs/{job}/rounds/{round}/checkpoint?attempt={attempt}"),
            kept,
        )
    }

    /// Tells that what the site had of its own is lost, and how many rounds are applied to what it begins with.
    pub fn reset(&self, job: JobId, attempt: u32, applied: u32) -> Answer<Done> {
        self.post(&format!("/jobs/{job}/reset?attempt={attempt}"), &applied)
    }

    /// Tells what the site has used.
    pub fn meter(&self, job: JobId, reading: &Reading) -> Answer<Done> {
        self.post(&format!("/jobs/{job}/readings"), reading)
    }

    /// Tells how the site gets on.
    pub fn progress(&self, job: JobId, progress: &Progress) -> Answer<()> {
        let _: serde_json::Value = self.post(&format!("/jobs/{job}/progress"), progress)?;
        Ok(())
    }

    /// Leaves a job that has nothing left to do; the lead site brings the results.
    pub fn leave(&self, job: JobId, attempt: u32, outputs: &[Output]) -> Answer<Done> {
        let key = format!("leave {job} {attempt}");
        self.post_keyed(
            &format!("/jobs/{job}/leave?attempt={attempt}"),
            outputs,
            Some(&key),
        )
    }

    /// Tells how a batch job's stay ended; what it used is metered before.
    pub fn end(&self, job: JobId, attempt: u32, exit: &Exit, outputs: &[Output]) -> Answer<Done> {
        self.post(&format!("/jobs/{job}/end?attempt={attempt}"), &(exit, outputs))
    }

    /// Sends what a batch job wrote from byte `from` on; returns how much of it the hub has then.
    pub fn send_log(&self, job: JobId, attempt: u32, from: u64, bytes: &[u8]) -> Answer<u64> {
        let path = format!("/jobs/{job}/log?attempt={attempt}&from={from}");
        let response = self.run("POST", &path, bytes, |request| request)?;
        self.json(&path, response)
    }

    /// What a batch job wrote in `attempt` from byte `from` on; from the beginning if it is in another attempt.
    pub fn log(&self, job: JobId, attempt: u32, from: u64) -> Answer<LogPart> {
        self.get(&format!("/jobs/{job}/log?attempt={attempt}&from={from}"))
    }

    /// Tells that the program stopped with an error.
    pub fn fail(&self, job: JobId, attempt: u32, message: &str) -> Answer<Done> {
        self.post(&format!("/jobs/{job}/fail?attempt={attempt}"), message)
    }

    // ---- one request, or those of a list ----

    /// A whole list, which the hub tells in parts: each part but the first comes `after` the name of the last thing in
    /// the one before. Filters are in the path.
    pub(crate) fn list<T: DeserializeOwned, N: fmt::Display>(
        &self,
        path: &str,
        after: &str,
        name: impl Fn(&T) -> &N,
    ) -> Answer<Vec<T>> {
        let sign = if path.contains('?') { '&' } else { '?' };
        let mut all: Vec<T> = Vec::new();
        loop {
            let last = all.last().map(|last| format!("&{after}={}", name(last)));
            let part = format!("{path}{sign}limit={PART}{}", last.unwrap_or_default());
            let part: Vec<T> = self.get(&part)?;
            let is_last = part.len() < PART;
            all.extend(part);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Sends a form to an address outside `/api/v1`, where no token is wanted: the status and the body of the answer,
    /// unless it is a problem.
    pub(crate) fn form(&self, path: &str, fields: &str) -> Answer<(u16, Vec<u8>)> {
        let url = format!("{}{path}", self.url.trim_end_matches("/api/v1"));
        let unreachable = |e: ureq::Error| ApiError::Unreachable {
            url: self.url.clone(),
            why: e.to_string(),
        };
        let request = self.agent.post(&url);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let mut response = request.send(fields).map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(1 << 20).read_to_vec();
        let body = body.map_err(unreachable)?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ApiError::Refused(Box::new(problem))),
            Err(_) => Ok((status, body)),
        }
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        let response = self.run("GET", path, (), |request| request)?;
        self.json(path, response)
    }

    /// Without a body. Where the hub reads none, the rest of one would be taken for the next request's beginning; and
    /// after one in chunks, even of nothing, it ends the connection, which the next request would notice.
    pub(crate) fn bare<T: DeserializeOwned>(&self, method: &str, path: &str) -> Answer<T> {
        let response = self.run(method, path, (), |request| match method {
            "POST" => request.header(header::CONTENT_LENGTH, 0),
            _ => request,
        })?;
        self.json(path, response)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Answer<T> {
        self.post_keyed(path, body, None)
    }

    fn post_keyed<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
        key: Option<&str>,
    ) -> Answer<T> {
        let body = serde_json::to_vec(body).expect("requests are plain data");
        let response = self.run("POST", path, body, |request| {
            let request = request.header(header::CONTENT_TYPE, "application/json");
            match key {
                Some(key) => request.header("idempotency-key", key),
                None => request,
            }
        })?;
        self.json(path, response)
    }

    pub(crate) fn run(
        &self,
        method: &str,
        path: &str,
        body: impl AsSendBody,
        with: impl FnOnce(ureq::http::request::Builder) -> ureq::http::request::Builder,
    ) -> Answer<Response<Body>> {
        let url = format!("{}{path}", self.url);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let request = with(request)
            .body(body)
            .map_err(|e| self.strange(path, &e.to_string()))?;
        let unreachable = |e: ureq::Error| ApiError::Unreachable {
            url: self.url.clone(),
            why: e.to_string(),
        };
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status();
        if status.is_success() || status == 304 {
            return Ok(response);
        }
        let body = response
            .body_mut()
            .with_config()
            .limit(1 << 20)
            .read_to_vec()
            .unwrap_or_default();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => ApiError::Refused(Box::new(problem)),
            Err(_) if method == "HEAD" => ApiError::Refused(Box::new(Problem::new(
                status.as_u16(),
                "head",
                status.to_string(),
            ))),
            Err(_) => self.strange(path, &format!("status {status} without a problem")),
        })
    }

    fn json<T: DeserializeOwned>(&self, path: &str, mut response: Response<Body>) -> Answer<T> {
        let limited = response.body_mut().with_config().limit(1 << 30);
        limited
            .read_json()
            .map_err(|e| self.strange(path, &e.to_string()))
    }

    pub(crate) fn strange(&self, path: &str, why: &str) -> ApiError {
        ApiError::Strange {
            url: format!("{}{path}", self.url),
            why: why.to_owned(),
        }
    }
}

/// The digest and the size of the file at `path`.
pub fn measure(path: &Path) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(
        &mut BufReader::with_capacity(1 << 18, File::open(path)?),
        &mut hasher,
    )?;
    Ok((Digest(hasher.finalize().into()), bytes))
}
