//! The cluster's certificate authority, and the certificates that nodes issue to themselves from it.
//!
//! Keys are ECDSA on P-256, signed over with SHA-256: for these every client knows what channel binding is bound to
//! (<https://www.rfc-editor.org/rfc/rfc5929#section-4>), which it is not for Ed25519.

use std::io;

use p256::{
    SecretKey,
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding},
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

/// The clocks of two nodes need not agree, and that of a resumed machine may be set back.
const LEEWAY: Duration = Duration::days(1);

/// Of an authority and of a node's certificate alike: a shorter one would protect nobody, because whoever has a node's key
/// can read the authority's, and would cut off a node that has been up for longer.
const LIFETIME: Duration = Duration::days(3650);

/// The subject of every authority. Two of them are told apart by their key identifiers.
const AUTHORITY: &str = "pgherd certificate authority";

/// A private key, which shows in no message.
pub(crate) struct Key {
    secret: SigningKey,
    public: Vec<u8>,
}

impl Key {
    /// Draws a key.
    pub(crate) fn generate() -> Key {
        loop {
            // All but one of 2^32 numbers of this length are keys.
            if let Ok(secret) = SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
                return Key::from(secret);
            }
        }
    }

    /// Reads a key in PKCS #8.
    ///
    /// # Errors
    /// Where it is none.
    pub(crate) fn from_pem(text: &str) -> io::Result<Key> {
        let secret = SecretKey::from_pkcs8_pem(text);
        secret.map(Key::from).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }

    /// Writes the key in PKCS #8.
    ///
    /// # Errors
    /// None that is known.
    pub(crate) fn to_pem(&self) -> io::Result<String> {
        let pem = self.secret.to_pkcs8_pem(LineEnding::LF);
        pem.map(|pem| pem.to_string()).map_err(|error| io::Error::other(error.to_string()))
    }

    /// The certificate by which the key is known as a certificate authority.
    ///
    /// # Errors
    /// None that is known.
    pub(crate) fn authority_certificate(&self, now: OffsetDateTime) -> io::Result<String> {
        Ok(self.authority(now).self_signed(self).map_err(io::Error::other)?.pem())
    }

    /// Issues a certificate to the server that has the key `of`, is called `name`, and is reached by `hosts`.
    ///
    /// # Errors
    /// None that is known: a host that no certificate can hold is left out.
    pub(crate) fn issue(&self, of: &Key, name: &str, hosts: &[&str], now: OffsetDateTime) -> io::Result<String> {
        let mut params = params(name, now);
        params.subject_alt_names =
            hosts.iter().filter_map(|host| (*host).try_into().ok().map(SanType::DnsName)).collect();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::new(self.authority(now), self);
        Ok(params.signed_by(of, &issuer).map_err(io::Error::other)?.pem())
    }

    fn authority(&self, now: OffsetDateTime) -> CertificateParams {
        let mut params = params(AUTHORITY, now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // The first method of <https://www.rfc-editor.org/rfc/rfc7093#section-2>.
        params.key_identifier_method = KeyIdMethod::PreSpecified(Sha256::digest(&self.public)[..20].to_vec());
        params
    }
}

fn params(subject: &str, now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.serial_number = Some(SerialNumber::from_slice(&rand::random::<[u8; 16]>()));
    params.not_before = now - LEEWAY;
    params.not_after = now + LIFETIME;
    params
}

impl From<SecretKey> for Key {
    fn from(secret: SecretKey) -> Key {
        let public = secret.public_key().to_sec1_bytes().into_vec();
        Key { secret: secret.into(), public }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.secret.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData as _;
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
    use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert, ring::ECDSA_P256_SHA256};

    use super::*;

    /// What a client says that trusts these authorities, in so many seconds from now.
    fn check(authorities: &str, certificate: &str, host: &str, seconds: i64) -> Result<(), webpki::Error> {
        let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(authorities.as_bytes()).collect();
        let authorities = authorities.expect("certificates");
        let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate");
        let anchors = authorities.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>()?;
        let server = EndEntityCert::try_from(&certificate)?;
        let now = u64::try_from(OffsetDateTime::now_utc().unix_timestamp() + seconds).expect("a time after 1970");
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now));
        server.verify_for_usage(&[ECDSA_P256_SHA256], &anchors, &[], now, KeyUsage::server_auth(), None, None)?;
        server.verify_is_valid_for_subject_name(&ServerName::try_from(host).expect("a host name"))
    }

    #[test]
    fn a_node_is_who_it_is_to_those_who_trust_its_authority() {
        let now = OffsetDateTime::now_utc();
        let (authority, other, node) = (Key::generate(), Key::generate(), Key::generate());
        let certificate = authority.issue(&node, "demo-1", &["demo-1", "3f2a", "localhost"], now).unwrap();
        let [authority, other] = [authority, other].map(|key| key.authority_certificate(now).unwrap());

        let year = 365 * 24 * 60 * 60;
        for (host, seconds) in [("demo-1", 0), ("3f2a", 0), ("localhost", 9 * year), ("demo-1", -60)] {
            assert_eq!(check(&authority, &certificate, host, seconds), Ok(()), "{host} in {seconds} s");
        }
        assert!(matches!(check(&authority, &certificate, "demo-2", 0), Err(webpki::Error::CertNotValidForName(_))));
        assert_eq!(check(&other, &certificate, "demo-1", 0), Err(webpki::Error::InvalidSignatureForPublicKey));
        assert_eq!(check(&(other + &authority), &certificate, "demo-1", 0), Ok(()));
        assert!(matches!(check(&authority, &certificate, "demo-1", 11 * year), Err(webpki::Error::CertExpired { .. })));
        // A node is no authority.
        assert!(check(&certificate, &certificate, "demo-1", 0).is_err());
    }

    #[test]
    fn a_key_survives_its_text() {
        let key = Key::generate();
        let text = key.to_pem().unwrap();
        assert_eq!(Key::from_pem(&text).unwrap().der_bytes(), key.der_bytes());
        assert!(Key::from_pem(&text[..text.len() / 2]).is_err());
    }

    #[test]
    fn a_name_that_no_certificate_holds_is_left_out() {
        let (authority, node) = (Key::generate(), Key::generate());
        let now = OffsetDateTime::now_utc();
        let certificate = authority.issue(&node, "n\u{f6}de", &["n\u{f6}de", "demo-1"], now).unwrap();
        let authority = authority.authority_certificate(now).unwrap();
        assert_eq!(check(&authority, &certificate, "demo-1", 0), Ok(()));
    }
}
