//! Names of things. A name of one kind can't be handed over where another kind is wanted.
//!
//! ```
//! use consortium::{Digest, SiteId};
//! let site: SiteId = "hangang-cloud".parse().unwrap();
//! assert!("Hangang Cloud".parse::<SiteId>().is_err());
//! assert!(Digest::of(b"khub").to_string().starts_with("blake3:"));
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What was wrong with a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no {noun}: {wanted}")]
pub struct BadId {
    noun: &'static str,
    given: String,
    wanted: &'static str,
}

impl BadId {
    pub(crate) fn new(noun: &'static str, given: String, wanted: &'static str) -> Self {
        Self { noun, given, wanted }
    }
}

/// Reads and writes a name as its text.
macro_rules! as_text {
    ($name:ident, $id:ident => $text:expr) => {
        impl TryFrom<String> for $name {
            type Error = <Self as std::str::FromStr>::Err;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from($id: $name) -> String {
                $text
            }
        }
    };
}

/// What names look like, as regular expressions.
macro_rules! slug_pattern {
    () => {
        "[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?"
    };
}
macro_rules! job_pattern {
    () => {
        "job-(0|[1-9][0-9]{0,18})"
    };
}
macro_rules! month_pattern {
    () => {
        "(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])"
    };
}
macro_rules! digest_pattern {
    () => {
        "blake3:[0-9a-fA-F]{64}"
    };
}
pub(crate) use {as_text, job_pattern, month_pattern, slug_pattern};

macro_rules! slug {
    ($(#[$doc:meta])* $name:ident, $noun:literal, as in $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = concat!("^", slug_pattern!(), "$"), "examples" = [$example]))]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                check_slug(text, $noun)?;
                Ok(Self(text.to_owned()))
            }
        }

        as_text!($name, id => id.0);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

slug!(
    /// An organisation of the consortium, member or partner.
    OrganisationId,
    "organisation", as in "gaon-university"
);
slug!(
    /// A person who acts for an organisation.
    PersonId,
    "person", as in "minji"
);
slug!(
    /// A place with machines.
    SiteId,
    "site", as in "hangang-1"
);
slug!(
    /// A project, which holds awards and runs jobs.
    ProjectId,
    "project", as in "korean-reviews"
);
slug!(
    /// An award of money and compute to a project.
    AwardId,
    "award", as in "korean-reviews-2021"
);
slug!(
    /// A call for proposals.
    CallId,
    "call", as in "speech-2021"
);

/// Names that are an organisation's own: it may give any of them away without knowing what others have.
macro_rules! owned {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = concat!("^", slug_pattern!(), "/", slug_pattern!(), "$")))]
        pub struct $name {
            /// Whose it is.
            pub organisation: OrganisationId,
            /// What it is called: the rules of a project's name.
            pub name: ProjectId,
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let (organisation, name) = text.split_once('/').unwrap_or((text, ""));
                Ok(Self {
                    organisation: organisation.parse()?,
                    name: name.parse()?,
                })
            }
        }

        as_text!($name, id => id.to_string());

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.organisation, self.name)
            }
        }
    };
}

owned!(
    /// A model's name: the organisation whose project it is, and a name of its own, as in `kaist/korean-small`.
    ModelId
);
owned!(
    /// A proposal's name: the organisation that proposes, and a name of its own, as in `kaist/speech-2`.
    ProposalId
);

fn check_slug(text: &str, noun: &'static str) -> Result<(), BadId> {
    let ok = (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if ok {
        return Ok(());
    }
    let given = text.chars().take(80).collect();
    Err(BadId {
        noun,
        given,
        wanted: "1 to 64 of a-z, 0-9 and inner hyphens",
    })
}

/// A job, numbered in the order of submission; reads and writes as `job-7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!("^", job_pattern!(), "$"), "examples" = ["job-1"]))]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("job-{}", self.0))
    }
}

impl FromStr for JobId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        // One text for each job: no plus, no zero in front.
        let number = text.strip_prefix("job-").and_then(|n| n.parse().ok());
        let number = number.filter(|n| Self(*n).to_string() == text);
        let given = || text.chars().take(80).collect();
        number.map(Self).ok_or_else(|| BadId {
            noun: "job",
            given: given(),
            wanted: "job- and a number, as in job-7",
        })
    }
}

as_text!(JobId, id => id.to_string());

/// The BLAKE3 digest of some bytes; reads and writes as `blake3:<64 hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!("^", digest_pattern!(), "$")))]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// The 64 hex digits alone, as file names have them.
    pub fn hex(&self) -> String {
        blake3::Hash::from(self.0).to_hex().to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "blake3:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let hash = text
            .strip_prefix("blake3:")
            .and_then(|hex| blake3::Hash::from_hex(hex).ok());
        let given = || text.chars().take(80).collect();
        let wanted = "blake3: and 64 hex digits";
        hash.map(|h| Self(h.into())).ok_or_else(|| BadId {
            noun: "digest",
            given: given(),
            wanted,
        })
    }
}

as_text!(Digest, digest => digest.to_string());

/// An artifact: some bytes in a project. The same bytes may be in two projects under two labels, so the
/// digest alone names no artifact. Reads and writes as `project/blake3:...`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = concat!("^", slug_pattern!(), "/", digest_pattern!(), "$")))]
pub struct ArtifactId {
    /// The project that keeps it.
    pub project: ProjectId,
    /// Its bytes.
    pub digest: Digest,
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.digest)
    }
}

impl FromStr for ArtifactId {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let given = || text.chars().take(80).collect();
        let wanted = "project/blake3:<64 hex digits>";
        let (project, digest) = text.split_once('/').ok_or_else(|| BadId {
            noun: "artifact",
            given: given(),
            wanted,
        })?;
        Ok(Self {
            project: project.parse()?,
            digest: digest.parse()?,
        })
    }
}

as_text!(ArtifactId, id => id.to_string());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_want() {
        for good in ["a", "gaon-university", "site-3"] {
            assert_eq!(good.parse::<SiteId>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "한강", "a b", "a/b", "..", &"x".repeat(65)] {
            let error = bad.parse::<SiteId>().unwrap_err().to_string();
            assert!(error.contains("is no site"), "{error}");
        }
        assert_eq!("job-12".parse::<JobId>().unwrap(), JobId(12));
        for bad in [
            "12",
            "job-",
            "job-x",
            "job--1",
            "job-+1",
            "job-01",
            "job-99999999999999999999",
        ] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_and_artifacts_survive_text() {
        let digest = Digest::of(b"one");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        let id = ArtifactId {
            project: "reviews".parse().unwrap(),
            digest,
        };
        assert_eq!(id.to_string().parse::<ArtifactId>().unwrap(), id);
        for bad in ["blake3:", "blake3:xyz", "sha256:00", "", "reviews/blake3:1"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
            assert!(bad.parse::<ArtifactId>().is_err(), "{bad}");
        }
    }
}
