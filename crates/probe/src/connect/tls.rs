//! Encryption, and whose certificates are good.
//!
//! <https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL>

use std::{error::Error as _, io, net::Ipv4Addr, sync::Arc};

use bytes::BytesMut;
use postgres_protocol::message::{backend::ERROR_RESPONSE_TAG, frontend};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::{
    Conninfo, Failure, SslMode, Stage,
    wire::{Progress, Wire},
};
use crate::replication_protocol::{ProtocolError, said};

/// How connections of one connection string are encrypted.
#[derive(Clone)]
pub(super) struct Tls {
    mode: SslMode,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads the file of trusted authorities.
    pub(super) fn of(conninfo: &Conninfo) -> Result<Tls, Failure> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let versions: &[_] = if conninfo.requires_tls_1_3 { &[&TLS13] } else { &[&TLS13, &TLS12] };
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let builder = builder.map_err(|error| Failure::Tls(io::Error::other(error)))?;
        let anchors = match conninfo.ssl_mode {
            SslMode::Disable | SslMode::Prefer => None,
            // As in libpq, where the file that is there by default counts; and one that is named has to be there.
            SslMode::Require => (conninfo.ssl_root_cert_is_given || conninfo.ssl_root_cert.exists())
                .then(|| authorities(conninfo))
                .transpose()?,
            SslMode::VerifyCa | SslMode::VerifyFull => Some(authorities(conninfo)?),
        };
        let builder = match anchors {
            Some(anchors) if conninfo.ssl_mode == SslMode::VerifyFull => builder.with_root_certificates(anchors),
            anchors => {
                let verifier = AnyName { anchors, algorithms };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        Ok(Tls { mode: conninfo.ssl_mode, config: Arc::new(builder.with_no_client_auth()) })
    }

    /// Asks the server for TLS, if that is wanted, and encrypts, if it has it.
    pub(super) async fn negotiate<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        host: &str,
        progress: &Progress,
    ) -> Result<Wire<S>, Failure> {
        if self.mode == SslMode::Disable {
            return Ok(Wire::plain(stream, progress));
        }
        progress.set(Stage::AskingForTls);
        let mut request = BytesMut::new();
        frontend::ssl_request(&mut request);
        stream.write_all(&request).await.map_err(Failure::Lost)?;
        // A server says one byte and waits. Whatever comes with it was put there by somebody else.
        let mut answer = [0; 64];
        let length = stream.read(&mut answer).await.map_err(Failure::Lost)?;
        match &answer[..length] {
            b"S" => {}
            b"N" if self.mode > SslMode::Prefer => return Err(Failure::NoTls(self.mode)),
            b"N" => return Ok(Wire::plain(stream, progress)),
            b"" => return Err(ProtocolError::Closed("when it was asked for TLS").into()),
            // A server that is out of processes says so in plain text, as none can authenticate.
            [ERROR_RESPONSE_TAG, error @ ..] => {
                return Err(Failure::Tls(io::Error::other(format!("the server says \"{}\"", said(error)))));
            }
            strange => return Err(ProtocolError::NotPostgres { said: said(strange) }.into()),
        }
        progress.set(Stage::Handshake);
        // A name that no certificate can have is a problem only where it is looked for.
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) if self.mode < SslMode::VerifyFull => ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()),
            Err(_) => return Err(Failure::Certificate(format!("no certificate can be for host \"{host}\""))),
        };
        let encrypted = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await;
        encrypted.map(|stream| Wire::tls(stream, progress)).map_err(|error| refused(error, host))
    }
}

fn authorities(conninfo: &Conninfo) -> Result<RootCertStore, Failure> {
    let path = &conninfo.ssl_root_cert;
    let failed = |reason: String| Failure::Authorities { path: path.clone(), reason };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| failed(cause(&error)))?;
    let mut anchors = RootCertStore::empty();
    for certificate in certificates {
        anchors.add(certificate.map_err(|error| failed(cause(&error)))?).map_err(|error| failed(error.to_string()))?;
    }
    if anchors.is_empty() { Err(failed("no certificate is in it".to_owned())) } else { Ok(anchors) }
}

fn cause(error: &rustls::pki_types::pem::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Tells what is wrong with a certificate from all else.
fn refused(error: io::Error, host: &str) -> Failure {
    let Some(Error::InvalidCertificate(reason)) = error.get_ref().and_then(|inner| inner.downcast_ref()) else {
        return Failure::Tls(error);
    };
    Failure::Certificate(match reason {
        // The signature is bad where two authorities have one name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it comes from another authority than those that are trusted".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is not for host \"{host}\"")
        }
        other => other.to_string(),
    })
}

/// Takes certificates for whatever name: those of trusted authorities, or any at all. That the server has the
/// certificate's key is checked all the same; channel binding rests on it.
#[derive(Debug)]
struct AnyName {
    anchors: Option<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(anchors) = &self.anchors {
            let certificate = ParsedCertificate::try_from(certificate)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, anchors, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
