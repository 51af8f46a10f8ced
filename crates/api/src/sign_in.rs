//! How people come in and sign in.

use crate::client::Answer;
use crate::{Client, Done};
use consortium::{Digest, Guest, Invitation, PersonId, Scope, Time};
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

/// What asks to be let in under a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceView {
    /// How far its token would go.
    pub scope: Scope,
    /// The network address that it asks from, as the hub sees it.
    pub from: Option<String>,
    /// Since when it waits.
    pub began: Time,
    /// Until when it can be answered.
    pub expires: Time,
}

/// Let in what asks under a code, or don't.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceAnswer {
    /// The code that it shows.
    pub code: String,
    /// Whether it may come in as oneself.
    pub allow: bool,
}

/// What a device is to do that wants to be let in (RFC 8628, section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCodes {
    /// What it asks for its token with; a secret.
    pub device_code: String,
    /// What its person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: String,
    /// For how many seconds the codes hold.
    pub expires_in: u64,
    /// How many seconds to wait between two questions.
    pub interval: u64,
}

/// What a device that asks for its token hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceTold {
    /// Its token.
    Token(String),
    /// Nobody has answered yet.
    Pending,
    /// The same, and it is to wait five seconds longer each time from now on.
    SlowDown,
    /// It isn't to come in.
    Denied,
    /// The code holds no more.
    Expired,
}

/// How people sign in at a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInView {
    /// The address of the provider that they sign in with; none if they have tokens alone.
    pub provider: Option<String>,
}

/// Begin to sign in with the provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInWith {
    /// Where in the hub's pages to go on, from the # on.
    #[serde(default)]
    pub page: Option<String>,
    /// An invitation to accept on the way.
    #[serde(default)]
    pub invitation: Option<Acceptance>,
}

/// Where a browser has to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ToProvider {
    /// The provider's address, with what it has to know.
    pub address: String,
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

    /// How people sign in at the hub. The client needs no token for it.
    pub fn sign_in(&self) -> Answer<SignInView> {
        self.get("/sign-in")
    }

    /// Asks to be let in: what the person has to type, and where. The client needs no token for it.
    pub fn device(&self, scope: Scope) -> Answer<DeviceCodes> {
        let path = "/oauth/device_authorization";
        let scope = match scope {
            Scope::Full => "full",
            Scope::Read => "read",
        };
        let (status, body) = self.form(path, &format!("scope={scope}&client_id=khub"))?;
        let codes = serde_json::from_slice(&body).ok().filter(|_| status == 200);
        codes.ok_or_else(|| self.strange(path, &format!("status {status} without codes")))
    }

    /// Asks for the token of a device that was or wasn't let in.
    pub fn device_token(&self, codes: &DeviceCodes) -> Answer<DeviceTold> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Token { access_token: String },
            Error { error: String },
        }
        let path = "/oauth/token";
        let grant = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code";
        let fields = format!(
            "grant_type={grant}&client_id=khub&device_code={}",
            codes.device_code
        );
        let (status, body) = self.form(path, &fields)?;
        let error = match serde_json::from_slice(&body) {
            Ok(Said::Token { access_token }) => return Ok(DeviceTold::Token(access_token)),
            Ok(Said::Error { error }) => error,
            Err(error) => error.to_string(),
        };
        match error.as_str() {
            "authorization_pending" => Ok(DeviceTold::Pending),
            "slow_down" => Ok(DeviceTold::SlowDown),
            "access_denied" => Ok(DeviceTold::Denied),
            // A hub that was started anew knows no codes of before.
            "expired_token" | "invalid_grant" => Ok(DeviceTold::Expired),
            error => Err(self.strange(path, &format!("status {status} and {error}"))),
        }
    }

    /// What asks to be let in under a code.
    pub fn device_under(&self, code: &str) -> Answer<DeviceView> {
        let letters = code.chars().filter(char::is_ascii_alphabetic);
        self.get(&format!("/devices?code={}", letters.collect::<String>()))
    }

    /// Lets in what asks under a code as the bearer, or doesn't.
    pub fn answer_device(&self, code: &str, allow: bool) -> Answer<DeviceAnswer> {
        let answer = DeviceAnswer {
            code: code.to_owned(),
            allow,
        };
        self.post("/devices", &answer)
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
