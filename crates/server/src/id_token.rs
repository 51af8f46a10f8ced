//! What an ID token says, if it may be believed: its signature, and its claims by OpenID Connect Core 1.0, section
//! 3.1.3.7. `jsonwebtoken` judges both; the mathematics is `ring`'s, which TLS uses already.

use consortium::Identity;
use jsonwebtoken::crypto::{CryptoProvider, JwkUtils, JwtVerifier};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::signature::{Error as BadSignature, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation};
use ring::signature as by_ring;
use serde::Deserialize;

/// What a sign-in waits for.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    /// For whom the token has to be.
    pub(crate) client: &'a str,
    /// What the browser was sent to the provider with.
    pub(crate) nonce: &'a str,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    nonce: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Who has signed in, by a `token` that one of `keys` has signed; or why it isn't believed.
pub(crate) fn check(token: &str, keys: &JwkSet, expected: &Expected<'_>) -> Result<Identity, String> {
    // It fails when it is installed already, which is as good.
    let _ = RING.install_default();
    let header = jsonwebtoken::decode_header(token).map_err(|e| e.to_string())?;
    if params(header.alg).is_none() {
        return Err(format!(
            "it is signed by {:?}, which isn't taken here",
            header.alg
        ));
    }
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_nbf = true;

    let may_sign = |key: &&Jwk| {
        let named = header.kid.is_none() || key.common.key_id == header.kid;
        named
            && key
                .common
                .public_key_use
                .as_ref()
                .is_none_or(|it| *it == PublicKeyUse::Signature)
    };
    let mut why = "the provider has no key that it names".to_owned();
    for key in keys.keys.iter().filter(may_sign) {
        let Ok(key) = DecodingKey::from_jwk(key) else {
            continue;
        };
        match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
            Ok(data) => return believe(&data.claims, expected),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

fn believe(claims: &Claims, expected: &Expected<'_>) -> Result<Identity, String> {
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err("it belongs to another sign-in (nonce)".to_owned());
    }
    let for_several = matches!(&claims.aud, Audience::Several(all) if all.len() > 1);
    let is_ours = match (&claims.azp, &claims.aud) {
        (Some(party), _) => party == expected.client,
        (None, Audience::One(only)) => only == expected.client,
        (None, Audience::Several(_)) => !for_several,
    };
    if !is_ours {
        return Err("it was made for another client (azp)".to_owned());
    }
    Identity::new(&claims.iss, &claims.sub).map_err(|e| e.to_string())
}

static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::InvalidAlgorithm.into()),
    verifier_factory: |algorithm, key| Ring::verifier(*algorithm, key),
    jwk_utils: JwkUtils::new_unimplemented(),
};

/// One key, for one algorithm.
struct Ring {
    algorithm: Algorithm,
    params: Params,
    key: DecodingKeyKind,
}

#[derive(Clone, Copy)]
enum Params {
    Rsa(&'static by_ring::RsaParameters),
    Curve(AlgorithmFamily, &'static dyn by_ring::VerificationAlgorithm),
}

/// How `algorithm` is verified. What is signed with a shared secret isn't taken: a provider's keys are public.
fn params(algorithm: Algorithm) -> Option<Params> {
    Some(match algorithm {
        Algorithm::RS256 => Params::Rsa(&by_ring::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Params::Rsa(&by_ring::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Params::Rsa(&by_ring::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Params::Rsa(&by_ring::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Params::Rsa(&by_ring::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Params::Rsa(&by_ring::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Params::Curve(AlgorithmFamily::Ec, &by_ring::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Params::Curve(AlgorithmFamily::Ec, &by_ring::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Params::Curve(AlgorithmFamily::Ed, &by_ring::ED25519),
        _ => return None,
    })
}

impl Ring {
    fn verifier(algorithm: Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
        let is_for = |params: &Params| match params {
            Params::Rsa(_) => key.family() == AlgorithmFamily::Rsa,
            Params::Curve(family, _) => key.family() == *family,
        };
        let params = params(algorithm).filter(is_for);
        Ok(Box::new(Self {
            algorithm,
            params: params.ok_or(ErrorKind::InvalidAlgorithm)?,
            key: key.kind().clone(),
        }))
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), BadSignature> {
        let verified = match (self.params, &self.key) {
            (Params::Rsa(params), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                by_ring::RsaPublicKeyComponents { n, e }.verify(params, message, signature)
            }
            (Params::Curve(_, params), DecodingKeyKind::SecretOrDer(key)) => {
                by_ring::UnparsedPublicKey::new(params, key).verify(message, signature)
            }
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(|_| BadSignature::new())
    }
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::{Value, json};

    const EXPECTED: Expected<'_> = Expected {
        issuer: "https://id.example",
        client: "khub",
        nonce: "n-1",
    };

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Self {
            let random = SystemRandom::new();
            let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            Self(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
        }

        fn keys(&self) -> JwkSet {
            let [x, y] = [1..33, 33..65].map(|part| BASE64.encode(&self.0.public_key().as_ref()[part]));
            let key = json!({"kty": "EC", "crv": "P-256", "kid": "k-1", "use": "sig", "alg": "ES256", "x": x, "y": y});
            serde_json::from_value(json!({"keys": [key]})).unwrap()
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let message = [header, claims]
                .map(|part| BASE64.encode(part.to_string()))
                .join(".");
            let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
            format!("{message}.{}", BASE64.encode(signature))
        }
    }

    fn header() -> Value {
        json!({"alg": "ES256", "kid": "k-1"})
    }

    fn claims() -> Value {
        let now = jsonwebtoken::get_current_timestamp();
        json!({"iss": "https://id.example", "sub": "7", "aud": "khub", "nonce": "n-1", "iat": now, "exp": now + 300})
    }

    /// The claims with one of them changed, or taken away.
    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        let fields = claims.as_object_mut().unwrap();
        fields.remove(name);
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
        claims
    }

    #[test]
    fn who_signed_in_is_known_by_issuer_and_subject() {
        let signer = Signer::new();
        for claims in [claims(), with("aud", json!(["khub"])), with("azp", json!("khub"))] {
            let identity = check(&signer.sign(&header(), &claims), &signer.keys(), &EXPECTED);
            assert_eq!(identity.unwrap().to_string(), "https://id.example 7", "{claims}");
        }
        // One key needs no name.
        let unnamed = signer.sign(&json!({"alg": "ES256"}), &claims());
        check(&unnamed, &signer.keys(), &EXPECTED).unwrap();
    }

    #[test]
    fn what_a_token_says_has_to_be_for_this_sign_in() {
        let signer = Signer::new();
        let past = jsonwebtoken::get_current_timestamp() - 120;
        for (name, value) in [
            ("nonce", json!("n-2")),
            ("nonce", Value::Null),
            ("aud", json!("another")),
            ("aud", json!(["another"])),
            ("aud", json!(["khub", "another"])),
            ("aud", Value::Null),
            ("azp", json!("another")),
            ("iss", json!("https://evil.example")),
            ("iss", json!(["https://id.example"])),
            ("iss", Value::Null),
            ("exp", json!(past)),
            ("exp", json!("never")),
            ("exp", Value::Null),
            ("nbf", json!(past + 1_000)),
            ("sub", Value::Null),
            ("sub", json!("")),
            ("sub", json!("한")),
        ] {
            let claims = with(name, value);
            let no = check(&signer.sign(&header(), &claims), &signer.keys(), &EXPECTED);
            assert!(no.is_err(), "{claims}");
        }
    }

    #[test]
    fn only_the_providers_keys_sign() {
        let (signer, other) = (Signer::new(), Signer::new());
        let keys = signer.keys();
        let good = signer.sign(&header(), &claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let unsigned = [json!({"alg": "none"}), claims()].map(|part| BASE64.encode(part.to_string()));
        let mut flipped = BASE64.decode(signature).unwrap();
        flipped[10] ^= 1;
        for bad in [
            other.sign(&header(), &claims()),
            signer.sign(&json!({"alg": "ES256", "kid": "k-2"}), &claims()),
            // A public key is no shared secret, and one curve is not another.
            signer.sign(&json!({"alg": "HS256", "kid": "k-1"}), &claims()),
            signer.sign(&json!({"alg": "RS256", "kid": "k-1"}), &claims()),
            signer.sign(&json!({"alg": "ES384", "kid": "k-1"}), &claims()),
            format!("{}.", unsigned.join(".")),
            format!("{}.{signature}", unsigned.join(".")),
            format!("{message}."),
            format!("{message}.{}", BASE64.encode(flipped)),
            message.to_owned(),
            String::new(),
            "a.b.c".to_owned(),
        ] {
            assert!(check(&bad, &keys, &EXPECTED).is_err(), "{bad}");
        }
        assert!(check(&good, &JwkSet { keys: Vec::new() }, &EXPECTED).is_err());
        check(&good, &keys, &EXPECTED).unwrap();
    }
}
