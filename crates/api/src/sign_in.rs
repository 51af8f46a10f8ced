//! How people come in and sign in.

use crate::client::Answer;
use crate::{Client, Done};
use consortium::{Digest, Guest, Invitation, PersonId, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Invite somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// Their address.
    pub email: String,
    /// Who they are to be.
    pub guest: Guest,
}

/// A new invitation. The hub keeps only the code's digest, so this is the one time it is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invited {
    /// What whoever is invited shows to come in, once.
    pub code: String,
    /// From when on it is worth nothing.
    pub expires: Time,
}

/// An invitation that nobody has accepted yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationView {
    /// The digest of its code, which names it.
    pub digest: Digest,
    /// Who is invited, by whom and until when.
    #[serde(flatten)]
    pub invitation: Invitation,
    /// Whether it is too late to accept it.
    pub expired: bool,
}

/// Accept an invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acceptance {
    /// The invitation's code.
    pub code: String,
    /// The name to come under; without it, the one that was proposed.
    #[serde(default)]
    pub name: Option<PersonId>,
}

/// Who somebody is from now on, and the token that says so. It is told this one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// Their name in addresses.
    pub person: PersonId,
    /// The bearer token.
    pub token: String,
}

impl Client {
    /// Invites somebody.
    pub fn invite(&self, email: &str, guest: &Guest) -> Answer<Invited> {
        let invite = Invite {
            email: email.to_owned(),
            guest: guest.clone(),
        };
        self.post("/invitations", &invite)
    }

    /// Who is invited and hasn't come yet.
    pub fn invitations(&self) -> Answer<Vec<InvitationView>> {
        self.list("/invitations", "after", |it: &InvitationView| &it.digest)
    }

    /// Takes an invitation back.
    pub fn withdraw_invitation(&self, digest: &Digest) -> Answer<Done> {
        self.bare("DELETE", &format!("/invitations/{digest}"))
    }

    /// Makes the bearer's own token worthless, also one that only reads.
    pub fn sign_out(&self) -> Answer<Done> {
        self.bare("DELETE", "/session")
    }

    /// Comes in by an invitation, at a hub where nobody signs in with a provider. The client needs no token for it.
    pub fn accept(&self, code: &str, name: Option<&PersonId>) -> Answer<Welcome> {
        let acceptance = Acceptance {
            code: code.to_owned(),
            name: name.cloned(),
        };
        self.post("/invitations/accept", &acceptance)
    }
}
