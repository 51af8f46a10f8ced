//! The provider that people sign in with, over the network: OpenID Connect Discovery 1.0, and the authorization code of
//! RFC 6749 with PKCE (RFC 7636). One that is slow or down costs those who sign in some seconds, and nobody else anything.

use crate::id_token::{self, Expected};
use api::Problem;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use consortium::Identity;
use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use ureq::Body;
use ureq::http::{Response, Uri, header};

/// The OpenID Connect provider that people sign in with.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Its address: what stands before `/.well-known/openid-configuration`.
    pub issuer: String,
    /// The hub's name there.
    pub client: String,
    /// The hub's password there; none if it has no need of one.
    pub secret: Option<String>,
}

/// A provider that takes longer counts as down.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it is believed what the provider said of itself.
const FRESH: Duration = Duration::from_secs(600);
/// So many sign-ins may wait for the provider at once.
const MOST: usize = 16;
/// No answer of a provider's is longer, bytes.
const LONGEST: u64 = 1 << 20;

pub(crate) struct Provider {
    config: ProviderConfig,
    agent: ureq::Agent,
    known: Mutex<Option<(Instant, Metadata)>>,
    turns: Semaphore,
}

/// What a provider says of itself; of that, what is used here.
#[derive(Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

/// What a browser is sent to the provider with, and has to come back with.
pub(crate) struct Errand<'a> {
    pub(crate) state: &'a str,
    pub(crate) nonce: &'a str,
    /// What the challenge of PKCE is made of.
    pub(crate) verifier: &'a str,
    /// Where the browser is sent back to.
    pub(crate) redirect: &'a str,
}

impl Provider {
    pub(crate) fn new(config: ProviderConfig) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .user_agent(concat!("khub/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self {
            config,
            agent,
            known: Mutex::default(),
            turns: Semaphore::new(MOST),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Does something that waits for the provider, on a thread of its own.
    pub(crate) async fn turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = |_| {
            let detail = format!("too many people are signing in with {} at once", self.issuer());
            Problem::new(503, "busy", detail).hint("try again in a minute")
        };
        let _turn = self.turns.try_acquire().map_err(busy)?;
        let own = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&own)).await;
        done.unwrap_or_else(|e| Err(Problem::new(500, "internal", e.to_string())))
    }

    /// Where a browser goes to sign in.
    pub(crate) fn address(&self, errand: &Errand<'_>) -> Result<String, Problem> {
        let endpoint = self.metadata()?.authorization_endpoint;
        let digest = ring::digest::digest(&ring::digest::SHA256, errand.verifier.as_bytes());
        let query = encoded(&[
            ("response_type", "code"),
            ("scope", "openid"),
            ("client_id", &self.config.client),
            ("redirect_uri", errand.redirect),
            ("state", errand.state),
            ("nonce", errand.nonce),
            ("code_challenge", &URL_SAFE_NO_PAD.encode(digest)),
            ("code_challenge_method", "S256"),
        ]);
        let sign = if endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{endpoint}{sign}{query}"))
    }

    /// Who has signed in, by the code that the browser has come back with.
    pub(crate) fn identity(&self, code: &str, errand: &Errand<'_>) -> Result<Identity, Problem> {
        let metadata = self.metadata()?;
        let token = self.redeem(&metadata, code, errand)?;
        // Asked anew each time: keys change, and a sign-in is rare.
        let keys: JwkSet = self.answer(&metadata.jwks_uri, self.agent.get(&metadata.jwks_uri).call())?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client: &self.config.client,
            nonce: errand.nonce,
        };
        id_token::check(&token, &keys, &expected)
            .map_err(|why| self.strange(format_args!("its ID token can't be believed: {why}")))
    }

    fn redeem(&self, metadata: &Metadata, code: &str, errand: &Errand<'_>) -> Result<String, Problem> {
        #[derive(Deserialize)]
        struct Redeemed {
            id_token: String,
        }
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", errand.redirect),
            ("code_verifier", errand.verifier),
            ("client_id", &self.config.client),
        ];
        let mut request = self
            .agent
            .post(&metadata.token_endpoint)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        let methods = &metadata.token_endpoint_auth_methods_supported;
        // Without a word on it, a provider takes it in the header.
        let in_header = methods.is_empty() || methods.iter().any(|it| it == "client_secret_basic");
        match &self.config.secret {
            Some(secret) if in_header => {
                let word = format!("{}:{}", escaped(&self.config.client), escaped(secret));
                request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(word)));
            }
            Some(secret) => fields.push(("client_secret", secret)),
            None => {}
        }
        let answered = request.send(encoded(&fields));
        Ok(self
            .answer::<Redeemed>(&metadata.token_endpoint, answered)?
            .id_token)
    }

    fn metadata(&self) -> Result<Metadata, Problem> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, metadata)) = &*known()
            && at.elapsed() < FRESH
        {
            return Ok(metadata.clone());
        }
        let issuer = self.issuer();
        let url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let metadata: Metadata = self.answer(&url, self.agent.get(&url).call())?;
        if metadata.issuer != *issuer {
            return Err(self.strange(format_args!("it calls itself {:?}", short(&metadata.issuer))));
        }
        let addresses = [
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        if let Some(open) = addresses.into_iter().find(|address| !is_safe(address)) {
            return Err(self.strange(format_args!(
                "it would be asked without encryption at {:?}",
                short(open)
            )));
        }
        *known() = Some((Instant::now(), metadata.clone()));
        Ok(metadata)
    }

    fn answer<T: DeserializeOwned>(
        &self,
        url: &str,
        answered: Result<Response<Body>, ureq::Error>,
    ) -> Result<T, Problem> {
        /// RFC 6749, section 5.2.
        #[derive(Deserialize)]
        struct Refused {
            error: String,
        }
        let down = |why: &dyn fmt::Display| {
            let detail = format!("the provider {} doesn't answer at {url}: {why}", self.issuer());
            Problem::new(502, "provider", detail)
                .hint("try again later; with a token of yours you can come in meanwhile")
        };
        let mut response = answered.map_err(|error| down(&error))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(LONGEST).read_to_vec();
        let body = body.map_err(|error| down(&error))?;
        if !status.is_success() {
            let said =
                serde_json::from_slice(&body).map(|it: Refused| format!(" and {:?}", short(&it.error)));
            let said = said.unwrap_or_default();
            return Err(self.strange(format_args!(
                "it answers with status {}{said} at {url}",
                status.as_u16()
            )));
        }
        serde_json::from_slice(&body).map_err(|error| {
            self.strange(format_args!(
                "it answers otherwise than a provider does at {url}: {error}"
            ))
        })
    }

    fn strange(&self, why: fmt::Arguments<'_>) -> Problem {
        let detail = format!("signing in with {} failed: {why}", self.issuer());
        Problem::new(502, "provider", detail)
            .hint("whoever runs the hub can compare its --oidc options with what the provider has")
    }
}

/// Whether what is sent there is encrypted, or stays on this machine.
pub fn is_safe(address: &str) -> bool {
    let Ok(uri) = address.parse::<Uri>() else {
        return false;
    };
    let is_here = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
    uri.host().is_some() && (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && is_here)
}

fn encoded(fields: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(fields).expect("texts can be encoded")
}

/// As RFC 6749, section 2.3.1, has it before it goes into a header.
fn escaped(text: &str) -> String {
    encoded(&[("", text)]).split_off(1)
}

/// What somebody else has written, in an error.
fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the secret.
        write!(f, "ProviderConfig({} as {})", self.issuer, self.client)
    }
}
