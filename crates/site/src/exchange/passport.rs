//! By what other sites know this one: a key of its own, and a certificate that it made itself. No authority vouches for
//! it: the hub tells each site of a job the certificates of the others, and they accept these and no others.

use crate::SiteError;
use crate::batch::write_whole_for;
use crate::edge::at;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use consortium::SiteId;
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ED25519};
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Where a site keeps its key, from its folder.
const KEY: &str = "exchange.key";

/// A key (PKCS #8) and the certificate for it (X.509), both in DER.
pub(super) struct Passport {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl Passport {
    /// That of the site whose folder this is, as long as the folder is there. The certificate is for `host`, if the site
    /// answers anywhere. Ed25519 signs without chance, so the same key and host have the same certificate.
    pub(super) fn of(folder: &Path, site: &SiteId, host: Option<&str>) -> Result<Self, SiteError> {
        let path = folder.join(KEY);
        let pair = match fs::read(&path) {
            Ok(bytes) => KeyPair::try_from(bytes.as_slice())
                .map_err(invalid)
                .map_err(at(&path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let pair = KeyPair::generate_for(&PKCS_ED25519)
                    .map_err(invalid)
                    .map_err(at(&path))?;
                write_whole_for(0o600, &path, &pair.serialize_der()).map_err(at(&path))?;
                pair
            }
            Err(error) => return Err(at(&path)(error)),
        };
        let hosts: Vec<String> = host.map(str::to_owned).into_iter().collect();
        let mut params = CertificateParams::new(hosts).map_err(|error| {
            SiteError::Exchange(format!(
                "{} can't be in a certificate: {error}",
                host.unwrap_or_default()
            ))
        })?;
        params.distinguished_name.push(DnType::CommonName, site.as_str());
        let certificate = params.self_signed(&pair).map_err(invalid).map_err(at(&path))?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key: pair.serialize_der(),
        })
    }

    /// The certificate as the hub tells it.
    pub(super) fn text(&self) -> String {
        STANDARD.encode(&self.certificate)
    }
}

fn invalid(error: rcgen::Error) -> Error {
    Error::new(ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_keeps_its_key_and_its_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let site = "seoul-1".parse().unwrap();
        let first = Passport::of(folder.path(), &site, Some("127.0.0.1")).unwrap();
        let again = Passport::of(folder.path(), &site, Some("127.0.0.1")).unwrap();
        assert_eq!((&first.certificate, &first.key), (&again.certificate, &again.key));
        let moved = Passport::of(folder.path(), &site, Some("seoul.example.kr")).unwrap();
        assert_eq!(first.key, moved.key);
        assert_ne!(first.text(), moved.text());
        assert!(Passport::of(folder.path(), &site, Some("서울")).is_err());
        fs::write(folder.path().join(KEY), b"no key").unwrap();
        let error = Passport::of(folder.path(), &site, None)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains(KEY), "{error}");
    }
}
