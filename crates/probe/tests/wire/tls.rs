//! Whose certificates are good.

use std::{fs, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use crate::fake::{answer, error, greeting};

/// An authority, the directory with its certificate, and a server with one of it for `localhost`.
struct Ground {
    directory: TempDir,
    port: u16,
    _runtime: Runtime,
}

impl Ground {
    /// The server has PostgreSQL 12, by which a session is known that came through.
    fn new() -> Ground {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.crt"), params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();

        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut bytes = [0; 256];
                let _ = stream.read(&mut bytes).await;
                let _ = stream.write_all(b"S").await;
                // A client that does not like the certificate goes.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut bytes).await;
                let _ = stream.write_all(&greeting("12.0")).await;
                let _ = tokio::time::timeout(Duration::from_secs(60), stream.read(&mut bytes)).await;
            }
        });
        Ground { directory, port, _runtime: runtime }
    }

    fn authority(&self) -> String {
        self.directory.path().join("ca.crt").to_string_lossy().into_owned()
    }

    /// How a connection ends.
    fn error(&self, host: &str, conninfo: &str) -> String {
        let error = error(self.port, &format!("{conninfo} host={host} hostaddr=127.0.0.1"));
        error.replace(&*self.directory.path().to_string_lossy(), "[DIRECTORY]")
    }
}

const THROUGH: &str = "the server has version";

#[test]
fn whoever_it_is_is_good_without_an_authority() {
    let ground = Ground::new();
    for mode in ["prefer", "require"] {
        assert!(ground.error("nobody", &format!("sslmode={mode}")).contains(THROUGH));
    }
    // A name that no certificate has.
    assert!(ground.error("'no body'", "sslmode=require").contains(THROUGH));
}

#[test]
fn the_authority_counts_and_then_the_name() {
    let (ground, other) = (Ground::new(), Ground::new());
    let (ours, theirs) = (ground.authority(), other.authority());
    let with = |host, mode, authority: &str| ground.error(host, &format!("sslmode={mode} sslrootcert={authority}"));
    for (host, mode) in
        [("localhost", "verify-full"), ("localhost", "verify-ca"), ("nobody", "verify-ca"), ("nobody", "require")]
    {
        assert!(with(host, mode, &ours).contains(THROUGH), "{mode} with {host}");
    }
    insta::assert_snapshot!(with("nobody", "verify-full", &ours), @r#"
    server "nobody", port [PORT]: the server's certificate was refused: it is not for host "nobody"
    hint: Check that this is the right server, and sslrootcert its authority.
    "#);
    insta::assert_snapshot!(with("'no body'", "verify-full", &ours), @r#"
    server "no body", port [PORT]: the server's certificate was refused: no certificate can be for host "no body"
    hint: Check that this is the right server, and sslrootcert its authority.
    "#);
    for mode in ["require", "verify-ca", "verify-full"] {
        let error = with("localhost", mode, &theirs);
        assert!(error.contains("it comes from another authority than those that are trusted"), "{mode}: {error}");
    }
    insta::assert_snapshot!(with("localhost", "verify-full", &theirs), @r#"
    server "localhost", port [PORT]: the server's certificate was refused: it comes from another authority than those that are trusted
    hint: Check that this is the right server, and sslrootcert its authority.
    "#);
    // Two are trusted while one takes the place of the other.
    let both = ground.directory.path().join("both.crt");
    fs::write(&both, format!("{}{}", fs::read_to_string(theirs).unwrap(), fs::read_to_string(ours).unwrap())).unwrap();
    assert!(with("localhost", "verify-full", &both.to_string_lossy()).contains(THROUGH));
}

#[test]
fn authorities_that_are_not_there() {
    let ground = Ground::new();
    insta::assert_snapshot!(ground.error("localhost", "sslmode=require sslrootcert=/nowhere/ca.crt"), @r#"
    server "localhost", port [PORT]: could not read the trusted authorities in "/nowhere/ca.crt": I/O error: No such file or directory (os error 2)
    hint: Set sslrootcert to the file of your certificate authority.
    "#);
    let empty = ground.directory.path().join("empty.crt");
    fs::write(&empty, "").unwrap();
    let conninfo = format!("sslmode=verify-ca sslrootcert={}", empty.display());
    insta::assert_snapshot!(ground.error("localhost", &conninfo), @r#"
    server "localhost", port [PORT]: could not read the trusted authorities in "[DIRECTORY]/empty.crt": no certificate is in it
    hint: Set sslrootcert to the file of your certificate authority.
    "#);
}

#[test]
fn a_server_without_tls() {
    let port = answer(b"N");
    for mode in ["require", "verify-ca", "verify-full"] {
        let ground = Ground::new();
        let error = error(port, &format!("sslmode={mode} sslrootcert={}", ground.authority()));
        assert!(error.contains(&format!("the server does not offer TLS, and sslmode={mode} asks for it")), "{error}");
    }
}

#[test]
fn plain_text_after_the_answer_is_not_taken_for_tls() {
    insta::assert_snapshot!(error(answer(b"SR\0\0\0\x08\0\0\0\0"), "sslmode=require"), @r#"
    server "127.0.0.1", port [PORT]: this is no PostgreSQL server: it says "SR\x00\x00\x00\x08\x00\x00\x00\x00"
    hint: Check host and port: something else listens there.
    "#);
}
