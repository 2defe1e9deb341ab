//! A web server for one test: files of a directory, of which some are made to be something else.

use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

pub(crate) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves the files of a directory, less those that `changes` maps to nothing.
    pub(crate) fn of(directory: &str, changes: impl IntoIterator<Item = (&'static str, Option<Vec<u8>>)>) -> Server {
        Server::stumbling(directory, changes, &[])
    }

    /// Hangs up on the first request for each of some paths.
    pub(crate) fn stumbling(
        directory: &str,
        changes: impl IntoIterator<Item = (&'static str, Option<Vec<u8>>)>,
        at: &'static [&'static str],
    ) -> Server {
        let (directory, changes) = (PathBuf::from(directory), changes.into_iter().collect::<HashMap<_, _>>());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        // It ends with the process of the test.
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { continue };
                let is_first = !seen.lock().unwrap().iter().any(|seen| seen == path);
                seen.lock().unwrap().push(path.to_owned());
                if is_first && at.contains(&path) {
                    continue;
                }
                let (status, body) = match content(&directory, &changes, path) {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", Vec::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                // A client that has gone away is not this server's problem.
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
            }
        });
        Server { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The paths of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn content(directory: &Path, changes: &HashMap<&str, Option<Vec<u8>>>, path: &str) -> Option<Vec<u8>> {
    changes.get(path).cloned().unwrap_or_else(|| fs::read(directory.join(path.trim_start_matches('/'))).ok())
}
