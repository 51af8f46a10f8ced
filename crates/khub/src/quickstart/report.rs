//! What came out: the text, the numbers, the money, and who gets the model.

use super::watch::Moved;
use super::{MEMBER, PARTNER};
use crate::corpus::Text;
use crate::failure::Failure;
use crate::folder::Folder;
use crate::{ledger, show};
use api::{ApiError, Client, JobView};
use consortium::{ArtifactId, Digest, JobId, JobSpec, SiteId, Won};
use language::GenerateConfig;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// `khub-data/quickstart.json`.
#[derive(Serialize)]
pub(crate) struct Json {
    corpus: String,
    tokens: u64,
    rounds: u32,
    sites: Vec<SiteId>,
    bits_per_byte_first: f64,
    bits_per_byte_last: f64,
    bytes_between_sites: u64,
    bytes_if_synchronous: u64,
    /// The weights' digest after the last round, at each site.
    outer_digests: BTreeMap<SiteId, Digest>,
    sample: String,
    spent_krw: Won,
    pflop_hours: f64,
    ledger_balanced: bool,
    member_status: u16,
    partner_status: u16,
}

/// The end of a quickstart, for programs and for people.
pub(crate) struct Report {
    pub(crate) json: Json,
    pub(crate) text: String,
}

/// What `report.json` of the job says, as far as it is shown.
#[derive(serde::Deserialize)]
struct Judged {
    bits_per_byte_first: f64,
    bits_per_byte_last: f64,
    tokens: u64,
}

const BEGINNINGS: [&str; 3] = ["이 영화는", "정말", "배우들의 연기"];

impl Report {
    pub(crate) fn new(
        folder: &Folder,
        member: &Client,
        partner: &Client,
        job: JobId,
        spec: &JobSpec,
        corpus: &Text,
    ) -> Result<Self, Failure> {
        let view = member.job(job)?;
        let results = folder.path("quickstart");
        let mut found = BTreeMap::new();
        for artifact in member.artifacts(&spec.project)? {
            if view.job.outputs.contains(&artifact.id) {
                member.save(&artifact.id, &results.join(&artifact.name))?;
                found.insert(artifact.name, artifact.id);
            }
        }
        let model = found.get("model.safetensors");
        let model = model.ok_or_else(|| Failure::new(format_args!("{job} is done and has left no model")))?;
        let judged = judged(&results.join("report.json"))?;
        let (member_status, _) = ask(member, model)?;
        let (partner_status, refusal) = ask(partner, model)?;
        let verified = ledger::verify(&folder.0);
        let moved = Moved::of(&view.job);
        let json = Json {
            corpus: corpus.described(),
            tokens: judged.tokens,
            rounds: view.committed,
            sites: view.job.members.keys().cloned().collect(),
            bits_per_byte_first: judged.bits_per_byte_first,
            bits_per_byte_last: judged.bits_per_byte_last,
            bytes_between_sites: moved.bytes,
            bytes_if_synchronous: moved.synchronous,
            outer_digests: view
                .job
                .rounds
                .last()
                .map(|round| round.outer.clone())
                .unwrap_or_default(),
            sample: sample(&results)?,
            spent_krw: view.spent,
            pflop_hours: view.used.pflop_hours().parse().map_err(Failure::new)?,
            ledger_balanced: verified.is_ok(),
            member_status,
            partner_status,
        };
        let mut text = String::new();
        write_text(&mut text, &json, &view);
        let postings = ledger::postings_in_words(&member.postings(job)?);
        let proof = match &verified {
            Ok(verified) => ledger::in_words(verified),
            Err(failure) => failure.to_string(),
        };
        text.push_str(&format!(
            "\nthe job's postings\n{postings}\nkhub ledger verify\n{proof}\n"
        ));
        text.push_str(&who_gets_it(model, folder, &json, &refusal));
        text.push_str(&what_is_left(job, model, folder));
        Ok(Self { json, text })
    }

    /// A quickstart whose promises didn't hold has failed, however well it trained.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        let Json {
            outer_digests,
            ledger_balanced,
            member_status,
            partner_status,
            ..
        } = &self.json;
        let wrong = [
            (!equal(outer_digests), "the sites' weights differ"),
            (!ledger_balanced, "the ledger doesn't balance"),
            (*member_status != 200, "the university can't fetch its model"),
            (
                *partner_status != 403,
                "the partner isn't refused the restricted model",
            ),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => Err(Failure::new(what).hint("run it again with --fresh")),
            None => Ok(()),
        }
    }
}

fn equal(digests: &BTreeMap<SiteId, Digest>) -> bool {
    let digests: Vec<&Digest> = digests.values().collect();
    digests.windows(2).all(|pair| pair[0] == pair[1])
}

fn write_text(text: &mut String, json: &Json, view: &JobView) {
    text.push_str(&format!("\nwhat the model writes\n{}\n", json.sample));
    text.push_str(&format!(
        "validation    {:.3} bits per byte before, {:.3} after {} rounds\n",
        json.bits_per_byte_first, json.bits_per_byte_last, json.rounds
    ));
    let times = json.bytes_if_synchronous as f64 / json.bytes_between_sites.max(1) as f64;
    text.push_str(&format!(
        "between sites {} moved; synchronous training of the same steps moves {} ({times:.0} times as much)\n",
        show::bytes(json.bytes_between_sites),
        show::bytes(json.bytes_if_synchronous),
    ));
    let equal = if equal(&json.outer_digests) {
        "equal"
    } else {
        "NOT equal"
    };
    text.push_str(&format!("weights       the digests at the sites are {equal}\n"));
    for (site, digest) in &json.outer_digests {
        text.push_str(&format!("              {digest} at {site}\n"));
    }
    text.push_str(&format!(
        "cost          {} for {} PFLOP-hours\n",
        view.spent, json.pflop_hours
    ));
}

fn who_gets_it(model: &ArtifactId, folder: &Folder, json: &Json, refusal: &str) -> String {
    let saved = folder.path("quickstart/model.safetensors");
    format!(
        "\nwho gets the model {model}\n{MEMBER} of Gaon University: {}, saved to {}\n\
         {PARTNER} of Fjord Institute: {}, {refusal}\n",
        json.member_status,
        saved.display(),
        json.partner_status,
    )
}

fn what_is_left(job: JobId, model: &ArtifactId, folder: &Folder) -> String {
    let at = folder.0.display();
    format!(
        "\nTo open what is left: khub serve --folder {at}\nand beside it, in another terminal:\n  \
         khub explain {job}\n  khub ledger show {job}\n  khub ledger verify\n  \
         khub fetch {model} --output model.safetensors --as {PARTNER}\n  \
         khub generate --model {at}/quickstart/model.safetensors '이 영화는'\n\
         (khub is target/release/khub, or `cargo run --release --`)\n",
    )
}

/// Tries to fetch the model; returns the status and, for a no, the reason.
fn ask(client: &Client, model: &ArtifactId) -> Result<(u16, String), Failure> {
    match client.fetch(model) {
        Ok(_) => Ok((200, "the model".to_owned())),
        Err(ApiError::Refused(problem)) => Ok((problem.status, problem.detail)),
        Err(other) => Err(other.into()),
    }
}

fn judged(path: &Path) -> Result<Judged, Failure> {
    let text = std::fs::read(path).map_err(|e| Failure::file(path, e))?;
    serde_json::from_slice(&text).map_err(|e| Failure::file(path, e))
}

fn sample(results: &Path) -> Result<String, Failure> {
    let (model, tokenizer) = (results.join("model.safetensors"), results.join("tokenizer.json"));
    let (model, tokenizer) = language::load(&model, &tokenizer).map_err(Failure::new)?;
    let mut text = String::new();
    for (seed, beginning) in BEGINNINGS.iter().enumerate() {
        let config = GenerateConfig {
            temperature: 0.7,
            top_p: 0.9,
            max_tokens: 48,
            seed: seed as u64,
            ..GenerateConfig::default()
        };
        let rest =
            language::generate(&model, &tokenizer, beginning, &config, &mut |_| {}).map_err(Failure::new)?;
        text.push_str(&format!("  {beginning}{rest}\n"));
    }
    Ok(text)
}
