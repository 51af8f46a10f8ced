//! What a site can do beyond what its owner offers. Its process says so when it starts, and placement goes by it.
//! Sites of one job learn from it how to know each other, and where to ask each other for what they share.

use crate::decide::find;
use crate::{Actor, Event, Job, Refusal, SiteId, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What a site's process has said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Abilities {
    /// What runs containers there, by name; a job that names an image goes nowhere else.
    #[serde(default)]
    pub containers: BTreeSet<String>,
    /// What keeps a batch job within its part of a machine, in a few words.
    #[serde(default)]
    pub limits: String,
    /// How the other sites of its jobs know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<Contact>,
}

/// How sites of one job know each other's processes, and where they find them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// The process' own certificate (X.509 in DER, in base64): whoever has its key is the site.
    pub certificate: String,
    /// Where it hands out what the job's sites share, as `https://seoul.example.kr:7443`; none if it only asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl Contact {
    /// Host and perhaps port, and nothing else that a client could be led astray by.
    fn is_plain(&self) -> bool {
        let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
        let host = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
        let certificate = !self.certificate.is_empty() && self.certificate.len() <= LONGEST_CERTIFICATE;
        let address = self.address.as_ref().is_none_or(|address| {
            let rest = address.strip_prefix("https://").unwrap_or_default();
            !rest.is_empty() && address.len() <= LONGEST && rest.bytes().all(host)
        });
        certificate && self.certificate.bytes().all(base64) && address
    }
}

/// In bytes, of a name or a sentence.
const LONGEST: usize = 300;
const MOST_CONTAINERS: usize = 16;
const LONGEST_CERTIFICATE: usize = 4_096;

pub(crate) fn tell(state: &State, actor: &Actor, abilities: &Abilities) -> Result<Vec<Event>, Refusal> {
    let Actor::Site(site) = actor else {
        return Err(Refusal::invalid(format!(
            "{actor} is not a site, and sites alone say what they can do"
        )));
    };
    find(&state.sites, "site", site)?;
    let mut texts = abilities.containers.iter().chain([&abilities.limits]);
    let plain = |text: &String| text.len() <= LONGEST && !text.contains(char::is_control);
    if !texts.all(plain) || abilities.containers.len() > MOST_CONTAINERS {
        return Err(Refusal::invalid(format!(
            "what site {site} says it can do is too long, or no plain text"
        ))
        .hint("300 bytes a name, and 16 names"));
    }
    if abilities
        .contact
        .as_ref()
        .is_some_and(|contact| !contact.is_plain())
    {
        let what = format!(
            "what site {site} says of how others reach it is no certificate in base64, or no address"
        );
        return Err(Refusal::invalid(what).hint("an address is https://HOST:PORT and nothing more"));
    }
    if state.abilities.get(site) == Some(abilities) {
        return Ok(Vec::new());
    }
    Ok(vec![Event::AbilitiesTold {
        site: site.clone(),
        abilities: abilities.clone(),
    }])
}

impl State {
    /// Whether `site` can run the job's image, if it has one.
    pub(crate) fn can_contain(&self, job: &Job, site: &SiteId) -> bool {
        let contains = |abilities: &Abilities| !abilities.containers.is_empty();
        !job.spec.has_image() || self.abilities.get(site).is_some_and(contains)
    }
}
