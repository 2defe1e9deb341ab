//! Servers that are none.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use pgherd_probe::{Conninfo, Replication, connect};
use tokio::runtime::Runtime;

/// The request for TLS, <https://www.postgresql.org/docs/17/protocol-message-formats.html>.
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Listens on a port of its own, and treats every connection like this, until the test's process ends.
pub(crate) fn listen(treat: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that has seen enough is fine.
            let _ = stream.and_then(&treat);
        }
    });
    port
}

/// Says something at once, and then nothing more until the client goes.
pub(crate) fn banner(said: &'static [u8]) -> u16 {
    listen(move |mut stream| {
        stream.write_all(said)?;
        until_gone(stream)
    })
}

/// Answers the request for TLS with something, and then says nothing more.
pub(crate) fn answer(said: &'static [u8]) -> u16 {
    listen(move |mut stream| {
        read(&mut stream)?;
        stream.write_all(said)?;
        until_gone(stream)
    })
}

/// Has no TLS, and answers the startup message with something.
pub(crate) fn without_tls(said: impl Into<Vec<u8>>) -> u16 {
    let said = said.into();
    listen(move |mut stream| {
        if read(&mut stream)? == TLS_REQUEST {
            stream.write_all(b"N")?;
            read(&mut stream)?;
        }
        stream.write_all(&said)?;
        until_gone(stream)
    })
}

fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = [0; 1024];
    let length = stream.read(&mut bytes)?;
    Ok(bytes[..length].to_vec())
}

pub(crate) fn until_gone(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// A port on which nobody accepts, and whose queue is full: the network drops what comes.
pub(crate) fn black_hole() -> (u16, impl Sized) {
    let runtime = Runtime::new().expect("a runtime");
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        socket.listen(1).expect("a listener")
    });
    let address = listener.local_addr().expect("an address");
    let mut waiting = Vec::new();
    for _ in 0..16 {
        match TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => waiting.push(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => return (address.port(), (runtime, listener, waiting)),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the queue of a listener with one place is never full");
}

/// What a server says when a session begins.
pub(crate) fn greeting(version: &str) -> Vec<u8> {
    let version = [b"server_version\0", version.as_bytes(), b"\0"].concat();
    [message(b'R', &[0; 4]), message(b'S', &version), message(b'K', &[0; 8]), message(b'Z', b"I")].concat()
}

pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a length").to_be_bytes();
    [&[tag], &length[..], body].concat()
}

/// The error of a connection for SQL, and of one for replication, and their hints. Neither may take long.
pub(crate) fn errors(conninfo: &str) -> [String; 2] {
    let conninfo: Conninfo = format!("user=u application_name=test {conninfo}").parse().expect("a connection string");
    let conninfo = conninfo.or_timeout(Duration::from_secs(10));
    let runtime = Runtime::new().expect("a runtime");
    let within = |error: pgherd_probe::ConnectError| {
        let hint = error.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
        format!("{error}{hint}")
    };
    runtime.block_on(async {
        let both = async {
            let sql = connect(&conninfo).await.map(drop).expect_err("no connection for SQL");
            let replication =
                Replication::connect(&conninfo).await.map(drop).expect_err("no connection for replication");
            [within(sql), within(replication)]
        };
        tokio::time::timeout(Duration::from_secs(30), both).await.expect("errors in bounded time")
    })
}

/// The same where both say the same, without the port.
pub(crate) fn error(port: u16, conninfo: &str) -> String {
    let [sql, replication] = errors(&format!("host=127.0.0.1 port={port} {conninfo}"));
    assert_eq!(sql, replication);
    sql.replace(&port.to_string(), "[PORT]")
}
