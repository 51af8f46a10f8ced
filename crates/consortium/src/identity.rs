//! Who somebody is to the provider that they sign in with. The hub has checked it before it comes here.

use crate::id::BadId;
use crate::{PersonId, State};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One account at one provider, as OpenID Connect names it. Reads and writes as `ISSUER SUBJECT`.
///
/// ```
/// use consortium::Identity;
/// let minji = Identity::new("https://id.example", "24400320").unwrap();
/// assert_eq!(minji.to_string().parse(), Ok(minji));
/// assert!(Identity::new("https://id.example", "").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    issuer: String,
    subject: String,
}

/// OpenID Connect Core 1.0, section 2: a subject has at most 255 characters of ASCII.
const LONGEST_SUBJECT: usize = 255;
const LONGEST_ISSUER: usize = 500;

impl Identity {
    /// The account `subject` of the provider `issuer`, which is an address.
    pub fn new(issuer: &str, subject: &str) -> Result<Self, BadId> {
        let plain = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        };
        if plain(issuer, LONGEST_ISSUER) && !issuer.contains(' ') && plain(subject, LONGEST_SUBJECT) {
            return Ok(Self {
                issuer: issuer.to_owned(),
                subject: subject.to_owned(),
            });
        }
        let given = format!("{issuer} {subject}").chars().take(80).collect();
        Err(BadId::new(
            "identity",
            given,
            "an issuer's address, a space, and 1 to 255 of ASCII",
        ))
    }
}

impl FromStr for Identity {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let (issuer, subject) = text.split_once(' ').unwrap_or((text, ""));
        Self::new(issuer, subject)
    }
}

crate::id::as_text!(Identity, id => id.to_string());

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.issuer, self.subject)
    }
}

/// Whoever comes with another account of the same provider has that one from now on.
pub(crate) fn bind(state: &mut State, identity: &Identity, person: &PersonId) {
    let same = |known: &Identity, whose: &PersonId| known.issuer == identity.issuer && whose == person;
    state.identities.retain(|known, whose| !same(known, whose));
    state.identities.insert(identity.clone(), person.clone());
}
