//! `GET /metrics` in Prometheus' text format, for whoever may audit: counts tell a lot about what is restricted.
//!
//! Prometheus sends a token with `authorization: credentials_file` in its scrape configuration.

use crate::extract::{Bearer, No};
use crate::hub::Shared;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use consortium::policy::Resource;
use consortium::{Account, Action, Phase, State as Consortium};
use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/metrics", get(metrics))
}

/// What the hub counts on its way.
#[derive(Default)]
pub(crate) struct Counts {
    /// Answers by the first digit of their status.
    answers: [AtomicU64; 6],
    commits: AtomicU64,
    commit_micros: AtomicU64,
}

impl Counts {
    pub(crate) fn note_commit(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// Counts every answer.
pub(crate) async fn count(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let sort = usize::from(response.status().as_u16() / 100);
    if let Some(count) = shared.counts.answers.get(sort) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    response
}

async fn metrics(State(shared): State<Arc<Shared>>, bearer: Bearer) -> Result<Response, No> {
    let state = shared.read()?;
    state.permit(&bearer.actor, Action::Audit, &Resource::Consortium)?;
    let mut page = Page::default();
    page.of_the_log(*shared.changed.borrow(), &shared.counts);
    page.of_the_consortium(&state);
    let silence = state.sites.keys().filter_map(|site| {
        let silent = shared.silence(site)?;
        Some((format!("{{site=\"{site}\"}}"), silent.as_secs_f64()))
    });
    page.family(
        "khub_site_silent_seconds",
        "gauge",
        "Since the site was last heard.",
        silence,
    );
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, page.0).into_response())
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn of_the_log(&mut self, seq: u64, counts: &Counts) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.one("khub_log_records", "counter", "Records in the log.", seq);
        self.one(
            "khub_commits_total",
            "counter",
            "Commits of this process.",
            get(&counts.commits),
        );
        let seconds = get(&counts.commit_micros) as f64 / 1e6;
        self.one(
            "khub_commit_seconds_total",
            "counter",
            "What they took together.",
            seconds,
        );
        let answers = counts.answers.iter().enumerate().skip(1);
        let answers = answers.map(|(sort, count)| (format!("{{status=\"{sort}xx\"}}"), get(count)));
        self.family(
            "khub_http_answers_total",
            "counter",
            "Answers of this process.",
            answers,
        );
    }

    fn of_the_consortium(&mut self, state: &Consortium) {
        self.one(
            "khub_organisations",
            "gauge",
            "Organisations.",
            state.organisations.len(),
        );
        self.one("khub_people", "gauge", "People.", state.people.len());
        self.one("khub_sites", "gauge", "Sites.", state.sites.len());
        self.one("khub_projects", "gauge", "Projects.", state.projects.len());
        self.one("khub_artifacts", "gauge", "Artifacts.", state.artifacts.len());
        let bytes: u64 = state.artifacts.values().map(|artifact| artifact.bytes).sum();
        self.one(
            "khub_artifact_bytes",
            "gauge",
            "Their bytes, each project's own.",
            bytes,
        );
        let pools = state.ledger.balances();
        let pools = pools.filter(|(account, _)| matches!(account, Account::Pool(_)));
        let pool: i64 = pools.map(|(_, balance)| balance.won.0).sum();
        self.one(
            "khub_pool_won",
            "gauge",
            "Appropriated and awarded to nobody yet, won.",
            pool,
        );
        let names = ["queued", "running", "finishing"];
        let mut phases: BTreeMap<&str, u64> = names.map(|name| (name, 0)).into();
        for job in state.active_jobs() {
            let name = match job.phase {
                Phase::Queued => "queued",
                Phase::Running => "running",
                _ => "finishing",
            };
            *phases.entry(name).or_default() += 1;
        }
        let phases = phases
            .into_iter()
            .map(|(name, count)| (format!("{{phase=\"{name}\"}}"), count));
        self.family(
            "khub_active_jobs",
            "gauge",
            "Jobs that hold or wait for machines.",
            phases,
        );
        self.one("khub_jobs_total", "counter", "Jobs ever.", state.jobs.len());
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help, [(String::new(), value)]);
    }

    fn family<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl IntoIterator<Item = (String, V)>,
    ) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in values {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}
