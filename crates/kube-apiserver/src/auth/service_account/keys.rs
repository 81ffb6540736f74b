//! The keys of service account tokens: RSA (RS256) and ECDSA on P-256 (ES256).

use std::path::Path;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use rustls_pki_types::{
    PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
    pem::{PemObject, SectionKind},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::{prelude::FromDer, public_key::PublicKey, x509::SubjectPublicKeyInfo};

use super::claims::Claims;

/// What tokens are signed with.
pub(crate) struct SigningKey {
    key: EncodingKey,
    algorithm: Algorithm,
    id: String,
}

/// One key that tokens are verified with.
struct VerificationKey {
    id: String,
    algorithm: Algorithm,
    key: DecodingKey,
    jwk: Value,
}

/// All of them.
#[derive(Default)]
pub(crate) struct VerificationKeys(Vec<VerificationKey>);

// === impl SigningKey ===

impl SigningKey {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let pem = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
        Self::from_pem(&pem).with_context(|| format!("signing key {}", path.display()))
    }

    pub(crate) fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let public = VerificationKeys::from_pem(pem)?;
        let Some(public) = public.0.first() else { bail!("no key found") };
        let key = match public.algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pem).context("a private key is needed")?,
            _ => ec_key(pem)?,
        };
        Ok(Self { key, algorithm: public.algorithm, id: public.id.clone() })
    }

    pub(super) fn sign(&self, claims: &Claims) -> anyhow::Result<String> {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.id.clone());
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }
}

// === impl VerificationKeys ===

impl VerificationKeys {
    /// Reads PEM files of public keys, certificates or private keys.
    pub(crate) fn open<P: AsRef<Path>>(paths: &[P]) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for path in paths.iter().map(P::as_ref) {
            let pem = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
            all.0.extend(Self::from_pem(&pem).with_context(|| format!("keys of {}", path.display()))?.0);
        }
        Ok(all)
    }

    pub(crate) fn from_pem(pem: &[u8]) -> anyhow::Result<Self> {
        let mut keys = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|error| anyhow::anyhow!("not PEM: {error:?}"))?;
            let public = match kind {
                SectionKind::PublicKey => der,
                SectionKind::Certificate => public_of_certificate(&der)?,
                SectionKind::RsaPrivateKey => public_of(PrivatePkcs1KeyDer::from(der).into())?,
                SectionKind::PrivateKey => public_of(PrivatePkcs8KeyDer::from(der).into())?,
                SectionKind::EcPrivateKey => public_of(PrivateSec1KeyDer::from(der).into())?,
                _ => continue,
            };
            keys.push(verification_key(&public)?);
        }
        if keys.is_empty() {
            bail!("no key found");
        }
        Ok(Self(keys))
    }

    /// The claims of a token with a good signature; `None` if it is none of ours.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let (message, signature) = token.rsplit_once('.')?;
        let payload = URL_SAFE_NO_PAD.decode(message.split_once('.')?.1).ok()?;
        let candidates = self.0.iter().filter(|key| {
            key.algorithm == header.alg && header.kid.as_ref().is_none_or(|id| id.is_empty() || *id == key.id)
        });
        let mut results = candidates.map(|key| crypto::verify(signature, message.as_bytes(), &key.key, key.algorithm));
        results.any(|result| matches!(result, Ok(true))).then(|| serde_json::from_slice(&payload).ok())?
    }

    /// The public keys as a JSON Web Key Set.
    pub(super) fn jwks(&self) -> Value {
        json!({"keys": self.0.iter().map(|key| key.jwk.clone()).collect::<Vec<_>>()})
    }

    /// The names of the algorithms in use.
    pub(super) fn algorithms(&self) -> Vec<String> {
        let mut names: Vec<_> = self.0.iter().map(|key| format!("{:?}", key.algorithm)).collect();
        names.sort();
        names.dedup();
        names
    }
}

/// An elliptic curve key in PKCS#8 form, or in the older one of its own (SEC 1), which is wrapped.
fn ec_key(pem: &[u8]) -> anyhow::Result<EncodingKey> {
    if let Ok(key) = PrivatePkcs8KeyDer::from_pem_slice(pem) {
        return Ok(EncodingKey::from_ec_der(key.secret_pkcs8_der()));
    }
    let key = PrivateSec1KeyDer::from_pem_slice(pem).map_err(|_| anyhow::anyhow!("a private key is needed"))?;
    Ok(EncodingKey::from_ec_der(&pkcs8(key.secret_sec1_der())?))
}

/// RFC 5208's wrapping of a P-256 key: version, algorithm (id-ecPublicKey, prime256v1), key.
fn pkcs8(sec1: &[u8]) -> anyhow::Result<Vec<u8>> {
    const HEAD: &[u8] =
        b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let length = |bytes: usize| -> anyhow::Result<Vec<u8>> {
        match u8::try_from(bytes) {
            Ok(short) if short < 0x80 => Ok(vec![short]),
            Ok(long) => Ok(vec![0x81, long]),
            Err(_) => bail!("the key is too long for P-256"),
        }
    };
    let key = [&[0x04][..], &length(sec1.len())?, sec1].concat();
    Ok([&[0x30][..], &length(HEAD.len() + key.len())?, HEAD, &key].concat())
}

fn public_of(key: PrivateKeyDer<'_>) -> anyhow::Result<Vec<u8>> {
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let public = key.public_key().context("a key without a public part")?;
    Ok(public.to_vec())
}

fn public_of_certificate(der: &[u8]) -> anyhow::Result<Vec<u8>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der)?;
    Ok(certificate.public_key().raw.to_vec())
}

fn verification_key(spki: &[u8]) -> anyhow::Result<VerificationKey> {
    let id = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
    let (_, info) = SubjectPublicKeyInfo::from_der(spki)?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    match info.parsed()? {
        PublicKey::RSA(rsa) => {
            let trim = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
            let (n, e) = (trim(rsa.modulus), trim(rsa.exponent));
            let jwk = json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": encode(&n), "e": encode(&e)});
            let key = DecodingKey::from_rsa_raw_components(&n, &e);
            Ok(VerificationKey { id, algorithm: Algorithm::RS256, key, jwk })
        }
        PublicKey::EC(point) => {
            let Some((4, coordinates)) = point.data().split_first().map(|(form, rest)| (*form, rest)) else {
                bail!("a compressed elliptic curve point");
            };
            let Some((x, y)) = coordinates.split_at_checked(32).filter(|(_, y)| y.len() == 32) else {
                bail!("an elliptic curve other than P-256");
            };
            let (x, y) = (encode(x), encode(y));
            let jwk = json!({"use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y});
            let key = DecodingKey::from_ec_components(&x, &y)?;
            Ok(VerificationKey { id, algorithm: Algorithm::ES256, key, jwk })
        }
        _ => bail!("neither an RSA nor an elliptic curve key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl ecparam -name prime256v1 -genkey -noout`.
    const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIGzsorP+k6UJcWkqMQpe9t9aKesot5iooaBwuNcaBfqxoAoGCCqGSM49
AwEHoUQDQgAEyUc37UxntIPq0vzha9mnGuKnVQJE9okar+vl2JB12ltTb/M91Iuw
i9Ut/VLkifeOzCJhbwG1rH/ycwzf0DfRNg==
-----END EC PRIVATE KEY-----
";

    #[test]
    fn the_older_form_of_elliptic_curve_keys_is_read() {
        let signing = SigningKey::from_pem(SEC1.as_bytes()).unwrap();
        let token = signing.sign(&Claims::default()).unwrap();
        assert!(VerificationKeys::from_pem(SEC1.as_bytes()).unwrap().verify(&token).is_some());
    }

    #[test]
    fn what_one_key_signs_it_verifies_and_no_other() {
        let [ours, theirs] = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
        let signing = SigningKey::from_pem(ours.serialize_pem().as_bytes()).unwrap();
        let verification = VerificationKeys::from_pem(ours.public_key_pem().as_bytes()).unwrap();
        let stranger = VerificationKeys::from_pem(theirs.public_key_pem().as_bytes()).unwrap();
        let claims = Claims { iss: "me".into(), aud: vec!["you".into()], ..Claims::default() };
        let token = signing.sign(&claims).unwrap();
        assert_eq!(verification.verify(&token), Some(claims));
        assert_eq!(stranger.verify(&token), None);
        let (head, signature) = token.rsplit_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(r#"{"iss":"me","aud":"you"}"#);
        let forged = format!("{}.{forged}.{signature}", head.split_once('.').unwrap().0);
        assert_eq!(verification.verify(&forged), None);
        assert_eq!(verification.algorithms(), ["ES256"]);
        assert!(VerificationKeys::from_pem(b"nothing").is_err());
    }
}
