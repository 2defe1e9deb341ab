//! Whether a release file is what Debian signed.
//!
//! <https://wiki.debian.org/SecureApt>

use std::iter;

use pgp::{
    composed::{CleartextSignedMessage, Deserializable, SignedPublicKey},
    crypto::hash::HashAlgorithm,
    packet::{Signature, SignatureType},
    types::{KeyDetails, VerifyingKey},
};

/// The archive keys of bookworm and trixie. `keys/README.md` says where they come from.
const DEBIAN: [&str; 6] = [
    include_str!("../keys/debian-archive-bookworm-automatic.asc"),
    include_str!("../keys/debian-archive-bookworm-security-automatic.asc"),
    include_str!("../keys/debian-archive-bookworm-stable.asc"),
    include_str!("../keys/debian-archive-trixie-automatic.asc"),
    include_str!("../keys/debian-archive-trixie-security-automatic.asc"),
    include_str!("../keys/debian-archive-trixie-stable.asc"),
];

/// The keys that are trusted.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<SignedPublicKey>);

/// Why a text is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// A key to trust cannot be read.
    #[error("cannot read the trusted key")]
    Key(#[source] pgp::errors::Error),
    /// It is not a signed text.
    #[error("not a signed text")]
    Malformed(#[source] pgp::errors::Error),
    /// No key that is trusted has signed it.
    #[error("no signature by a known key: signed by {signers}, known are {known}")]
    UnknownKey {
        /// The IDs of the keys that did sign it.
        signers: String,
        /// The IDs of the keys that are trusted.
        known: String,
    },
    /// A trusted key has signed something else.
    #[error("bad signature by key {0}: the text has been changed since")]
    Bad(String),
}

impl Keyring {
    /// Debian's own keys.
    ///
    /// # Errors
    ///
    /// Never, unless the keys in this crate are damaged.
    pub fn debian() -> Result<Keyring, SignatureError> {
        DEBIAN.iter().map(|key| parse(key)).collect::<Result<_, _>>().map(Keyring)
    }

    /// Another key instead, armored.
    ///
    /// # Errors
    ///
    /// When it is no public key.
    pub fn of_key(armored: &str) -> Result<Keyring, SignatureError> {
        parse(armored).map(|key| Keyring(vec![key]))
    }

    /// The text that a trusted key has signed. Never look at anything else of `InRelease`.
    ///
    /// # Errors
    ///
    /// When there is no good signature by a key of this ring.
    pub fn verify(&self, signed: &str) -> Result<String, SignatureError> {
        let message = CleartextSignedMessage::from_string(signed).map_err(SignatureError::Malformed)?.0;
        let text = message.signed_text();
        let mut bad = None;
        for signature in message.signatures().iter().filter(|signature| is_strong(signature)) {
            for key in &self.0 {
                let subkeys = key.public_subkeys.iter().map(|subkey| check(signature, &subkey.key, &text));
                for (signer, good) in iter::once(check(signature, &key.primary_key, &text)).chain(subkeys).flatten() {
                    if good {
                        return Ok(text.replace("\r\n", "\n"));
                    }
                    bad = Some(signer);
                }
            }
        }
        Err(match bad {
            Some(signer) => SignatureError::Bad(signer),
            None => SignatureError::UnknownKey {
                signers: list(message.signatures().iter().flat_map(Signature::issuer_key_id)),
                known: list(self.0.iter().map(KeyDetails::legacy_key_id)),
            },
        })
    }
}

fn parse(armored: &str) -> Result<SignedPublicKey, SignatureError> {
    SignedPublicKey::from_string(armored).map(|(key, _)| key).map_err(SignatureError::Key)
}

/// Forgeries of signatures over MD5 and SHA-1 are known; apt does not take them either.
fn is_strong(signature: &Signature) -> bool {
    matches!(signature.hash_alg(), Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512))
        && matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary))
}

/// The ID of the key if it is the one that signed, and whether the signature is good.
fn check(signature: &Signature, key: &impl VerifyingKey, text: &str) -> Option<(String, bool)> {
    let id = key.legacy_key_id();
    let signed =
        signature.issuer_key_id().contains(&&id) || signature.issuer_fingerprint().contains(&&key.fingerprint());
    signed.then(|| (id.to_string(), signature.verify(key, text.as_bytes()).is_ok()))
}

fn list(ids: impl Iterator<Item = impl ToString>) -> String {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    if ids.is_empty() { "nobody".to_owned() } else { ids.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{Keyring, SignatureError};

    const SIGNED: &str = include_str!("../tests/archive/debian/dists/trixie/InRelease");

    fn keys() -> Keyring {
        Keyring::of_key(include_str!("../tests/archive/key.asc")).unwrap()
    }

    #[test]
    fn a_signed_text_is_what_was_signed_and_nothing_around_it() {
        let text = keys().verify(SIGNED).unwrap();
        assert!(text.starts_with("Origin: Debian\nLabel"), "{text}");
        assert!(text.ends_with("main/binary-amd64/Packages"), "{text}");
        assert!(keys().verify(&format!("Origin: Debian\n{SIGNED}")).is_err());
        assert!(keys().verify(&format!("{SIGNED}Origin: Debian\n")).is_err());
    }

    #[test]
    fn every_changed_digit_shows() {
        let signed = SIGNED.find("Origin").unwrap()..SIGNED.find("-----BEGIN PGP SIGNATURE").unwrap();
        for (position, digit) in SIGNED.char_indices().filter(|(at, c)| signed.contains(at) && c.is_ascii_digit()) {
            let mut changed = SIGNED.to_owned();
            changed.replace_range(position..=position, if digit == '0' { "1" } else { "0" });
            assert!(matches!(keys().verify(&changed), Err(SignatureError::Bad(_))), "{changed}");
        }
    }

    #[test]
    fn the_keys_of_debian_are_readable() {
        assert_eq!(Keyring::debian().unwrap().0.len(), 6);
    }
}
