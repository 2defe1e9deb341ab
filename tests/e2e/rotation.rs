//! New secrets on a running cluster: nobody is disconnected, and only the new ones are good for anything.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use e2e::{Entry, Scenario, entry};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::{PATIENCE, STREAMING, STREAMING_COUNT, secrets::file};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(secrets_rotate, 3, "passwords, certificates and their authority are replaced, and no connection is lost"),
    entry!(a_rotation_is_cut_off, 2, "a rotation that was cut off is brought to its end by the next"),
];

/// A session of the application's, which stays open.
struct Session {
    runtime: Runtime,
    client: Client,
}

impl Session {
    fn open(url: &str) -> Result<Session, tokio_postgres::Error> {
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })?;
        Ok(Session { runtime, client })
    }

    fn pid(&self) -> i32 {
        let row = self.runtime.block_on(self.client.query_one("SELECT pg_backend_pid()", &[]));
        row.expect("a session that is still open").get(0)
    }
}

/// Takes any certificate. Whether it is good, libpq says elsewhere.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The certificate that a node shows to a new connection, <https://www.postgresql.org/docs/17/protocol-flow.html#PROTOCOL-FLOW-SSL>.
fn certificate(s: &Scenario, node: &str) -> Vec<u8> {
    let address = s.aside(&format!("docker port {node} 5432/tcp")).output;
    let mut socket = TcpStream::connect(address.trim()).expect("a connection");
    socket.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).expect("a request for TLS");
    let mut answer = [0];
    socket.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, *b"S", "{node} has no TLS");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    let host = ServerName::try_from("localhost").expect("a host name");
    let mut tls = ClientConnection::new(Arc::new(config), host).expect("a client");
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).expect("a handshake");
    }
    tls.peer_certificates().expect("a certificate")[0].to_vec()
}

/// The connections that must not be lost: of both ends of replication by process and time, and of the application.
fn connections(s: &Scenario, sessions: &[Session]) -> (Vec<String>, Vec<i32>) {
    let senders = "SELECT pid, backend_start FROM pg_stat_replication ORDER BY application_name";
    let mut ends = vec![s.sql_aside("vault-1", senders)];
    ends.extend(["vault-2", "vault-3"].map(|node| s.sql_aside(node, "SELECT pid FROM pg_stat_wal_receiver")));
    (ends, sessions.iter().map(Session::pid).collect())
}

/// Connects to the primary as a node would, in a container of its own, with this password and this authority.
fn as_replicator(s: &Scenario, password: &str, authority: &str) -> String {
    let connect = "psql \"host=vault-1 user=replicator replication=true sslmode=verify-full sslrootcert=/tmp/ca.crt\" \
                   -Atc \"SHOW server_version_num\"";
    let line = format!(
        "docker run --rm --network pgherd-vault -e PGPASSWORD={password} -e 'CA={authority}' pgherd/postgres:17 \
         sh -c 'echo \"$CA\" > /tmp/ca.crt; {connect}'"
    );
    s.aside(&line).output
}

fn secrets_rotate() {
    let mut s = Scenario::new("secrets_rotate", ["vault"]);
    s.run("cargo xtask cluster up vault --replicas 2 --publish");
    let volume = |s: &Scenario, name: &str| file(s, &format!("vault-1:/run/pgherd/secrets/{name}"));
    let url = |s: &Scenario| s.aside("cargo xtask cluster url vault 2>/dev/null").output.trim().to_owned();
    let nodes = ["vault-1", "vault-2", "vault-3"];
    let old_url = url(&s);
    let (old_password, old_authority) = (volume(&s, "replication-password"), volume(&s, "ca.crt"));
    let mut sessions = vec![Session::open(&old_url).expect("the application's session")];
    let before = connections(&s, &sessions);

    s.run("cargo xtask cluster rotate passwords vault");
    let stayed = connections(&s, &sessions) == before;
    s.claim("the application's session and all of replication go on in the same processes", stayed);
    let refused = Session::open(&old_url).err().expect("the old password is still good");
    let code = refused.code().map(|code| code.code().to_owned());
    s.claim("a new session with the old password fails with 28P01", code.as_deref() == Some("28P01"));
    sessions.push(Session::open(&url(&s)).expect("a session with the new password"));
    s.claim("a new session with the new password works", sessions[1].pid() > 0);
    let refused = as_replicator(&s, &old_password, &old_authority);
    s.claim("so it is for replication: the old one is refused", refused.contains("password authentication failed"));
    let new_password = volume(&s, "replication-password");
    let answer = as_replicator(&s, &new_password, &old_authority);
    s.claim("and the new one works", answer.trim().starts_with(&s.major().to_string()));
    let before = connections(&s, &sessions);

    let shown = nodes.map(|node| certificate(&s, node));
    s.run("cargo xtask cluster rotate certificates vault");
    let now = nodes.map(|node| certificate(&s, node));
    s.claim("every node shows another certificate to a new connection", shown.iter().zip(&now).all(|(a, b)| a != b));
    let answer = as_replicator(&s, &new_password, &old_authority);
    s.claim("which is good to whom the last one was", answer.trim().starts_with(&s.major().to_string()));

    s.run("cargo xtask cluster rotate authority vault");
    let authority = volume(&s, "ca.crt");
    let answer = as_replicator(&s, &new_password, &authority);
    s.claim("whoever trusts the new authority connects", answer.trim().starts_with(&s.major().to_string()));
    let refused = as_replicator(&s, &new_password, &old_authority);
    s.claim("who trusts the old one does not", refused.contains("certificate verify failed"));
    let trusted = authority.matches("BEGIN CERTIFICATE").count();
    s.claim("one authority is trusted", trusted == 1 && !authority.contains(&old_authority));
    let stayed = connections(&s, &sessions) == before;
    s.claim("all connections go on in the same processes", stayed);

    s.note("a node that starts again needs the new secrets, and has them");
    s.restart("vault-2");
    s.run("docker kill vault-3");
    s.run("docker start vault-3");
    s.sql_until("vault-1", STREAMING_COUNT, "2", PATIENCE);
    s.sql("vault-1", STREAMING);

    s.note("a node that could not be told is a reason to change nothing");
    s.pause("vault-3");
    s.exits(1, "cargo xtask cluster rotate passwords vault");
    s.claim("the password is as it was", volume(&s, "replication-password") == new_password);
    s.run("docker unpause vault-3");
    s.finish();
}

fn a_rotation_is_cut_off() {
    let mut s = Scenario::new("a_rotation_is_cut_off", ["vault"]);
    s.run("cargo xtask cluster up vault --replicas 1");
    s.note("as if it had ended after the role was changed, and before anybody was told");
    s.plant("vault-1:/run/pgherd", "secrets/replication-password.next", "drawn by the one that was cut off\n");
    s.sql("vault-1", "ALTER ROLE replicator PASSWORD 'drawn by the one that was cut off'");
    s.restart("vault-2");
    s.run_until("docker logs vault-2", "password authentication failed", PATIENCE);
    s.run("cargo xtask cluster rotate passwords vault");
    s.sql_until("vault-1", STREAMING_COUNT, "1", PATIENCE);
    let password = file(&s, "vault-1:/run/pgherd/secrets/replication-password");
    s.claim("it went on with the password that was drawn", password == "drawn by the one that was cut off");

    s.note("as if the second had ended after the new authority was made, and before the old one was retired");
    s.run("docker exec vault-1 pgherd-agent rotate authority");
    s.run("docker exec vault-2 pgherd-agent reload");
    s.run("cargo xtask cluster rotate authority vault");
    s.restart("vault-2");
    s.sql_until("vault-1", STREAMING_COUNT, "1", PATIENCE);
    let trusted = file(&s, "vault-1:/run/pgherd/secrets/ca.crt").matches("BEGIN CERTIFICATE").count();
    s.claim("one authority is trusted", trusted == 1);
    s.finish();
}
