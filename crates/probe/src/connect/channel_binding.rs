//! What a password's proof is bound to: the hash of the server's certificate.

use sha2::{Digest, Sha256, Sha384, Sha512};
use spki::{
    AlgorithmIdentifierRef, ObjectIdentifier,
    der::{self, Decode, Reader, SliceReader, asn1::BitStringRef},
};

/// The hash of a certificate by the function of its own signature; SHA-256 for MD5 and SHA-1. `None` for signatures without
/// one of these, such as Ed25519: nothing is defined for them.
///
/// <https://www.rfc-editor.org/rfc/rfc5929#section-4.1>
pub(super) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    match signature_algorithm(certificate).ok()?.to_string().as_str() {
        // md5, sha1 and sha256 WithRSAEncryption, ecdsa-with-SHA1 and SHA256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(Sha256::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Sha384::digest(certificate).to_vec()),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signatureValue }`,
/// <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>.
fn signature_algorithm(certificate: &[u8]) -> der::Result<ObjectIdentifier> {
    SliceReader::new(certificate)?.sequence(|fields| {
        fields.tlv_bytes()?;
        let algorithm = AlgorithmIdentifierRef::decode(fields)?;
        BitStringRef::decode(fields)?;
        Ok(algorithm.oid)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        CertificateParams::new(["a".to_owned()]).unwrap().self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        let p256 = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(tls_server_end_point(&p256), Some(Sha256::digest(&p256).to_vec()));
        let p384 = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(tls_server_end_point(&p384), Some(Sha384::digest(&p384).to_vec()));
        assert_eq!(tls_server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
        for length in 0..p256.len() {
            assert_eq!(tls_server_end_point(&p256[..length]), None, "{length} bytes of a certificate");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_hash_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = tls_server_end_point(&bytes);
        }
    }
}
