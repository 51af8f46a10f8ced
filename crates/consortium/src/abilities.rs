//! What a site can do beyond what its owner offers. Its process says so when it starts, and placement goes by it.

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
}

/// In bytes, of a name or a sentence.
const LONGEST: usize = 300;
const MOST_CONTAINERS: usize = 16;

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
