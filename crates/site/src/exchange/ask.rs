//! Asks another site.

use super::pace::Pace;
use super::passport::Passport;
use super::tree::{CHUNK, LARGEST, Tree};
use api::{ApiError, PartFile};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consortium::{Contact, Digest, JobId};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// The way to another site.
#[derive(Clone)]
pub(super) struct Link {
    contact: Contact,
    agent: Agent,
    pace: Option<Arc<Pace>>,
    pub(super) rests_until: Duration,
}

/// Why a site's bytes didn't come.
#[derive(Debug)]
pub(super) enum Miss {
    /// It hasn't got it, or not for this site.
    Absent,
    /// It isn't there, or it broke off. What came by then is kept.
    Away(String),
    /// It sent something else.
    Wrong(String),
    /// This site's own disk.
    File(ApiError),
}

impl Link {
    /// None to a site that answers nowhere. Only the certificate that the hub told of is taken for the site's.
    pub(super) fn new(contact: Contact, passport: &Passport, rate: Option<f64>) -> Option<Self> {
        contact.address.as_ref()?;
        let theirs = STANDARD.decode(&contact.certificate).ok()?;
        let theirs = Certificate::from_der(&theirs).to_owned();
        let ours = Certificate::from_der(&passport.certificate).to_owned();
        // Its way from DER wants a type that it keeps to itself.
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(&passport.key)
        );
        let key = PrivateKey::from_pem(pem.as_bytes()).ok()?;
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&[theirs]))
            .client_cert(Some(ClientCert::new_with_certs(&[ours], key)))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(Duration::from_secs(5)))
            // It may have to read a large file first.
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(30)))
            .build();
        Some(Self {
            contact,
            agent: config.new_agent(),
            pace: rate.map(|rate| Arc::new(Pace::new(rate))),
            rests_until: Duration::ZERO,
        })
    }

    pub(super) fn is_to(&self, contact: &Contact) -> bool {
        self.contact == *contact
    }

    /// Adds to `part` what is missing of it, chunk by chunk, each as soon as it is known to be right.
    pub(super) fn take(&self, job: JobId, digest: &Digest, part: &mut PartFile) -> Result<(), Miss> {
        let from = part.have() - part.have() % CHUNK;
        part.shorten_to(from).map_err(Miss::File)?;
        let address = self.contact.address.as_deref().unwrap_or_default();
        let url = format!("{address}/jobs/{job}/artifacts/{digest}?from={from}");
        let answer = self.agent.get(&url).call();
        let answer = answer.map_err(|error| Miss::Away(error.to_string()))?;
        match answer.status().as_u16() {
            200 => {}
            // It hasn't got it, or what is here is longer and therefore something else.
            404 | 416 => return Err(Miss::Absent),
            other => return Err(Miss::Away(format!("it answers with status {other}"))),
        }
        let mut body = answer.into_body().into_reader();
        let tree = head(&mut body, digest)?;
        let mut chunk = Vec::with_capacity(CHUNK as usize);
        while part.have() < tree.len {
            chunk.clear();
            let wanted = CHUNK.min(tree.len - part.have());
            let read = body.by_ref().take(wanted).read_to_end(&mut chunk);
            read.map_err(|why| broke_off(&why))?;
            if (chunk.len() as u64) < wanted {
                return Err(broke_off(&io::ErrorKind::UnexpectedEof.into()));
            }
            if !tree.has(part.have() / CHUNK, &chunk, digest) {
                return Err(Miss::Wrong(format!("those from {} on", part.have())));
            }
            part.add(&chunk).map_err(Miss::File)?;
            if let Some(pace) = &self.pace {
                std::thread::sleep(pace.take(wanted));
            }
        }
        if !part.is_whole(digest) {
            // All that came is right, so what was here before isn't.
            part.clear().map_err(Miss::File)?;
            return Err(Miss::Absent);
        }
        Ok(())
    }
}

/// What comes before the bytes.
pub(super) fn head(body: &mut impl Read, digest: &Digest) -> Result<Tree, Miss> {
    let mut len = [0; 8];
    body.read_exact(&mut len).map_err(|why| broke_off(&why))?;
    let len = u64::from_le_bytes(len);
    if len > LARGEST {
        return Err(Miss::Wrong(format!("it is said to have {len} bytes")));
    }
    // They grow as they come: who says that there are many has to send them.
    let mut values = Vec::new();
    for _ in 0..Tree::values_of(len) {
        let mut value = [0; 32];
        body.read_exact(&mut value).map_err(|why| broke_off(&why))?;
        values.push(value);
    }
    let tree = Tree { len, values };
    match tree.leads_to(digest) {
        true => Ok(tree),
        false => Err(Miss::Wrong("its chunks are those of something else".into())),
    }
}

fn broke_off(why: &io::Error) -> Miss {
    Miss::Away(format!("it broke off: {why}"))
}
