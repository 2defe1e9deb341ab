//! What is said of a cluster by the command line, and waited for: by people, by monitoring, and by other people's tests.

use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::ffi::OsStrExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use e2e::{Entry, Scenario, entry};
use pgherd_orchestrator::{ClusterName, Engine, Look, Lookout, NodeName, Observer, WaitError};
use pgherd_probe::{Finding, Health};
use rustix::{
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcsetwinsize},
};
use tokio::runtime::Runtime;

use crate::PATIENCE;

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(watched, 2, "a cluster is looked at again and again, checked, and read as metrics"),
    entry!(waited_for, 3, "what a cluster shall be is waited for"),
    entry!(read_your_writes, 2, "whoever waits for what he has committed reads it on a replica"),
    entry!(heartbeat, 2, "a primary that answers, and does not commit"),
    entry!(late_on_purpose, 2, "a replica that replays late, or not at all"),
];

const ROWS: &str = "SELECT count(*) FROM t";

/// A command that goes on until it is interrupted, as by ctrl-c.
struct Ongoing(Child);

impl Ongoing {
    fn begin(arguments: &str) -> Ongoing {
        let xtask = env::var("PGHERD_XTASK").expect("the runner says which program is under test");
        let command =
            Command::new(xtask).args(arguments.split(' ')).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        Ongoing(command.expect("the program under test"))
    }

    /// Reads what it says until it has said this many lines.
    fn lines(&mut self, count: usize) -> String {
        let mut said = Vec::new();
        let stdout = self.0.stdout.as_mut().expect("its output");
        while said.iter().filter(|byte| **byte == b'\n').count() < count {
            let mut byte = [0];
            assert_eq!(stdout.read(&mut byte).expect("its output"), 1, "it has ended");
            said.extend(byte);
        }
        String::from_utf8(said).expect("text")
    }

    /// Presses ctrl-c and returns the exit code.
    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("a signal");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("its end") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it was interrupted, and still runs {} s later", PATIENCE.as_secs());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watched() {
    let mut s = Scenario::new("watched", ["herd"]);
    s.run("cargo xtask cluster up herd --replicas 1");
    s.run("cargo xtask cluster wait herd --lag-below 1B");
    s.run("cargo xtask cluster status herd --watch 0.1 --count 2");
    s.run("cargo xtask cluster check herd");
    let nagios = s.aside("cargo xtask cluster check herd --nagios");
    let (said, measured) = nagios.output.split_once(" | ").expect("performance data");
    let said = said.starts_with("OK - cluster ") && said.contains(" is healthy: primary ");
    let measured = measured.trim_end().split(' ').map(|value| value.split(['=', ';']).nth(2) == Some("1073741824"));
    s.claim(
        "as a plugin of Nagios it exits with 0, says OK, and measures two values, one of them against 1 GB",
        nagios.code == Some(0) && said && measured.clone().count() == 2 && measured.filter(|is_so| *is_so).count() == 1,
    );
    let rows = s.aside("cargo xtask cluster replication herd 2>/dev/null").output;
    let rows: Vec<Vec<String>> = rows
        .lines()
        .map(|row| row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect())
        .collect();
    let row = ["herd-1", "herd-2", "streaming", "streaming", "async"].map(|cell| s.real(cell));
    s.claim("there is one stream, which streams at both ends", rows.len() == 2 && rows[1][..5] == row);
    let slot = s.real("herd-2").replace('-', "_");
    s.claim("and has a slot, which keeps something or nothing", rows[1][13] == slot && rows[1][14].ends_with(" B"));

    s.note("by ctrl-c, a watch ends with the verdict of its last look");
    let mut watch = Ongoing::begin(&s.real("cluster status herd --watch 0.1 --format json"));
    let looks: Vec<serde_json::Value> =
        watch.lines(2).lines().map(|line| serde_json::from_str(line).expect("a look in a line")).collect();
    s.claim("each look is a line of JSON, and healthy", looks.iter().all(|look| look["health"] == "healthy"));
    s.claim("it exits with 0", watch.interrupt() == Some(0));

    s.run("cargo xtask cluster top herd --once --every 0.1");
    s.exits(1, "cargo xtask cluster top herd");
    s.exits(2, "cargo xtask cluster top herd --every 0");
    let (drawn, code) = on_a_terminal(&s.real("cluster top herd"), "healthy", b"q");
    let is_left = drawn.find("\x1b[?1049h") < drawn.find("\x1b[?1049l");
    s.claim("on a terminal it draws until q, and leaves the terminal as it was", code == Some(0) && is_left);
    let (_, code) = on_a_terminal(&s.real("cluster top herd"), "healthy", b"\x03");
    s.claim("ctrl-c ends it as well", code == Some(0));

    let address = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").to_string();
    let exporter = Ongoing::begin(&s.real(&format!("cluster metrics herd --listen {address}")));
    let up = format!("pg_up{{cluster=\"{0}\",node=\"{0}-2\"}} 1.0", s.real("herd"));
    let (status, healthy) = get(&address, "/metrics");
    s.claim("Prometheus is told that both nodes are up", status == "HTTP/1.1 200 OK" && healthy.contains(&up));
    s.claim("it is told nothing elsewhere", get(&address, "/").0 == "HTTP/1.1 404 Not Found");
    let refused = s.aside(&format!("cargo xtask cluster metrics herd --listen {address}"));
    let is_named = refused.output.contains(&format!("could not listen on {address}: Address already in use"));
    s.claim("a second one is refused the port, by its name", refused.code == Some(1) && is_named);
    s.exits(2, "cargo xtask cluster metrics herd --listen :9187");
    s.exits(2, "cargo xtask cluster status herd --watch herd");
    s.exits(2, "cargo xtask cluster check herd --timeout 5");

    s.note("a replica is down");
    let mut watch = Ongoing::begin(&s.real("cluster status herd --watch 0.1 --format json"));
    watch.lines(1);
    s.stop("herd-2");
    while !watch.lines(1).contains("\"kind\":\"stopped\"") {}
    s.claim("the watch sees it, and exits with 3", watch.interrupt() == Some(3));
    s.exits(3, "cargo xtask cluster check herd");
    let nagios = s.aside("cargo xtask cluster check herd --nagios");
    s.claim("Nagios is warned", nagios.code == Some(1) && nagios.output.starts_with("WARNING - "));
    let (_, degraded) = get(&address, "/metrics");
    let down = up.replace(" 1.0", " 0.0");
    s.claim("Prometheus is told", degraded.contains(&down) && degraded.contains("kind=\"stopped\""));

    s.note("a replica that does not replay is behind, and one look cannot tell for how long");
    s.run("cargo xtask cluster start herd-2");
    s.run("cargo xtask cluster chaos freeze herd-2 --process startup");
    s.sql("herd-1", "CREATE TABLE t AS SELECT 1 AS x");
    let name = s.real("herd").parse().expect("a name");
    let (once, closely) = Runtime::new().expect("a runtime").block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        let mut cluster = Lookout::new(&engine, &name);
        let once = cluster.look().await.expect("a look");
        (stands_still(&once), stands_still(&cluster.look_closely().await.expect("two looks")))
    });
    s.claim("one look does not see that replay stands still, a closer one does", !once && closely);
    let check = s.aside("cargo xtask cluster check herd");
    s.claim("so does \"check\"", check.code == Some(3) && check.output.contains(" is degraded: "));
    s.run("cargo xtask cluster chaos heal herd");
    s.run("cargo xtask cluster check herd");

    s.note("nothing takes writes");
    s.stop("herd-2");
    s.stop("herd-1");
    s.exits(3, "cargo xtask cluster check herd");
    s.exits(2, "cargo xtask cluster check herd --nagios");

    s.note("it is gone");
    s.run("cargo xtask cluster rm herd --force");
    s.claim("Prometheus is refused", get(&address, "/metrics").0 == "HTTP/1.1 503 Service Unavailable");
    s.claim("the exporter ends in order", exporter.interrupt() == Some(0));
    s.exits(1, "cargo xtask cluster check herd");
    s.exits(3, "cargo xtask cluster check herd --nagios");
    s.exits(3, "DOCKER_HOST=tcp://127.0.0.1:1 cargo xtask cluster check herd --nagios");
    s.finish();
}

fn stands_still(look: &Look) -> bool {
    let mut findings = look.report.nodes.iter().flat_map(|node| &node.findings);
    findings.any(|finding| matches!(finding, Finding::ReplayStalled { .. }))
}

/// Runs a command on a terminal of its own, presses a key once it has drawn a word, and returns all that it drew and its exit code.
fn on_a_terminal(arguments: &str, drawn: &str, key: &[u8]) -> (String, Option<i32>) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&terminal).and_then(|()| unlockpt(&terminal)).expect("a terminal of our own");
    let name = ptsname(&terminal, Vec::new()).expect("the name of a terminal");
    let user = File::options().read(true).write(true).open(OsStr::from_bytes(name.to_bytes())).expect("its other end");
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&user, size).expect("a size");
    let before = tcgetattr(&user).expect("its settings").local_modes;
    let end = || Stdio::from(user.try_clone().expect("another end"));
    let xtask = env::var("PGHERD_XTASK").expect("the runner says which program is under test");
    let mut command = Command::new(xtask);
    let mut child = command.args(arguments.split(' ')).stdin(end()).stdout(end()).stderr(end()).spawn().expect("it");
    let (mut master, mut said, mut piece) = (File::from(terminal), Vec::new(), [0; 4096]);
    let mut has = |what: &str, master: &mut File| loop {
        if String::from_utf8_lossy(&said).contains(what) {
            return String::from_utf8_lossy(&said).into_owned();
        }
        let length = master.read(&mut piece).expect("what it draws");
        said.extend_from_slice(&piece[..length]);
    };
    has(drawn, &mut master);
    master.write_all(key).expect("a key that is taken");
    let said = has("\x1b[?1049l", &mut master);
    let code = child.wait().expect("its end").code();
    assert_eq!(tcgetattr(&user).expect("its settings").local_modes, before, "the terminal is not what it was");
    (said, code)
}

/// The first line and the body of an answer, as soon as somebody listens.
fn get(address: &str, path: &str) -> (String, String) {
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "nobody listens on {address}: {error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").expect("a request that is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.lines().next().expect("a status").to_owned(), body.to_owned())
}

fn waited_for() {
    let mut s = Scenario::new("waited_for", ["tide"]);
    s.run("cargo xtask cluster up tide --replicas 2");
    s.run("cargo xtask cluster wait tide --streaming");
    s.run("cargo xtask cluster wait --node tide-1 --role primary");
    s.run("cargo xtask cluster wait --node tide-2 --role replica");
    s.note("what a replica has not replayed yet");
    s.run("cargo xtask cluster lag pause tide-2");
    s.sql("tide-1", "CREATE TABLE t AS SELECT generate_series(1, 1000) AS x");
    s.run("cargo xtask cluster wait tide --replayed now --node tide-3");
    s.exits(1, "cargo xtask cluster wait tide --replayed now --timeout 500ms");
    s.exits(1, "cargo xtask cluster wait tide --lag-below 1kB --timeout 500ms");
    s.run("cargo xtask cluster wait tide --lag-below 1GB");
    s.run("cargo xtask cluster wait --lag-below 1kB --node tide-3");
    s.exits(1, "cargo xtask cluster wait tide --streaming --timeout 500ms");
    let waiting = s.spawn("cargo xtask cluster wait tide --replayed now");
    s.run("cargo xtask cluster lag resume tide-2");
    s.join(waiting, 0);
    s.expect("tide-2", "SELECT count(*) FROM t", "1000");

    s.note("a node that is frozen holds up nobody but those who wait for it");
    s.run("cargo xtask cluster chaos freeze tide-2 --process all");
    s.run("cargo xtask cluster wait tide --replayed 0/1 --node tide-3");
    s.exits(1, "cargo xtask cluster wait tide --replayed 0/1 --node tide-2 --timeout 500ms");
    s.run("cargo xtask cluster chaos thaw tide-2 --process all");

    s.note("a promotion behind our back");
    let waiting = s.spawn("cargo xtask cluster wait --node tide-3 --role primary --timeout 2min");
    s.run("docker stop tide-1");
    s.run("docker exec tide-3 pgherd-agent promote");
    s.join(waiting, 0);

    s.note("what cannot be");
    s.exits(1, "cargo xtask cluster wait tide --replayed now --node tide-9");
    s.exits(1, "cargo xtask cluster wait tide --streaming --node tide-9");
    s.exits(1, "cargo xtask cluster wait other --streaming --node tide-2");
    for line in [
        "cargo xtask cluster wait tide",
        "cargo xtask cluster wait tide --streaming --lag-below 1MB",
        "cargo xtask cluster wait tide --role primary",
        "cargo xtask cluster wait tide --lag-below 1",
        "cargo xtask cluster wait tide --replayed yesterday",
        "cargo xtask cluster wait tide --streaming --timeout 5",
    ] {
        s.exits(2, line);
    }
    s.finish();
}

fn read_your_writes() {
    const ROUNDS: i32 = 10;
    let mut s = Scenario::new("read_your_writes", ["echo"]);
    s.run("cargo xtask cluster up echo --replicas 1");
    s.sql("echo-1", "CREATE TABLE t (x int)");
    s.run("cargo xtask cluster lag set echo-2 500ms");
    let replica: NodeName = s.real("echo-2").parse().expect("a node");
    let (read_at_once, read_after) = Runtime::new().expect("a runtime").block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        let [writers, others, readers] = [(); 3].map(|()| Observer::new(&engine, &replica.cluster));
        let writer = writers.client(1).await.expect("a connection");
        // Such a commit is told before it is on its way to anywhere.
        writer.batch_execute("SET synchronous_commit = off").await.expect("a setting");
        // What somebody else has not committed lies at the end of the log, and nobody sends it.
        let other = others.client(1).await.expect("a connection");
        other.batch_execute("BEGIN").await.expect("a transaction");
        let reader = readers.client(2).await.expect("a connection");
        let mut cluster = Lookout::new(&engine, &replica.cluster);
        let (mut read_at_once, mut read_after) = (0, 0);
        for round in 1..=ROUNDS {
            other.batch_execute("INSERT INTO t SELECT 0 FROM generate_series(1, 7)").await.expect("an insertion");
            writer.batch_execute(&format!("INSERT INTO t VALUES ({round})")).await.expect("an insertion");
            let read = format!("SELECT count(*) FROM t WHERE x = {round}");
            read_at_once += count(&reader, &read).await;
            let committed = cluster.commit_lsn().await.expect("a position");
            cluster.wait_replayed(&replica, committed, PATIENCE).await.expect("a replica that replays");
            read_after += count(&reader, &read).await;
        }
        (read_at_once, read_after)
    });
    s.claim("a read that does not wait misses something", read_at_once < i64::from(ROUNDS));
    s.claim("a read that waits misses nothing, whatever synchronous_commit is", read_after == i64::from(ROUNDS));

    s.note("where nobody says how far it is, nobody waits for ever");
    s.stop("echo-1");
    let error = Runtime::new().expect("a runtime").block_on(async {
        let engine = Engine::connect().await.expect("an engine");
        let mut cluster = Lookout::new(&engine, &replica.cluster);
        cluster.commit_lsn().await.expect_err("there is no primary")
    });
    s.claim("there is no primary to ask", matches!(error, WaitError::NotOnePrimary { count: 0, .. }));
    s.exits(1, "cargo xtask cluster wait echo --replayed now");
    s.finish();
}

fn heartbeat() {
    let mut s = Scenario::new("heartbeat", ["pulse"]);
    s.run("cargo xtask cluster up pulse --replicas 1");
    let cluster: ClusterName = s.real("pulse").parse().expect("a name");
    let stalled = |look: &Look| {
        let findings = look.report.nodes.iter().flat_map(|node| &node.findings);
        findings.clone().any(|finding| matches!(finding, Finding::CommitStalled { .. }))
    };
    let beating =
        "SELECT pid FROM pg_stat_activity WHERE query LIKE '%pg_logical_emit_message%' AND pid <> pg_backend_pid()";
    let runtime = Runtime::new().expect("a runtime");
    let engine = runtime.block_on(Engine::connect()).expect("an engine");
    let mut lookout = Lookout::new(&engine, &cluster).with_heartbeat();
    let mut look = |until: &dyn Fn(&Look) -> bool| {
        let begin = Instant::now();
        loop {
            let seen = runtime.block_on(lookout.look()).expect("a look");
            if until(&seen) || begin.elapsed() > PATIENCE {
                return seen;
            }
            thread::sleep(Duration::from_millis(250));
        }
    };
    let position = |look: &Look| look.report.nodes[0].lsn;
    let first = look(&|_| true);
    let later = look(&|look| position(look) > position(&first));
    s.claim("nobody writes, and there is something to replay", position(&later) > position(&first));
    s.claim("and nothing is wrong", later.report.health == Health::Healthy);

    s.note("the process that commits stands still; all others answer");
    let pid = s.sql_aside("pulse-1", beating);
    s.aside(&format!("docker exec pulse-1 sh -c 'kill -STOP {pid}'")).code.expect("an exit code");
    let hung = look(&stalled);
    s.claim("it is told that nothing is committed", stalled(&hung) && hung.report.health == Health::Broken);
    let unaware = runtime.block_on(Lookout::new(&engine, &cluster).look()).expect("a look");
    s.claim("who only asks finds nothing", unaware.report.health == Health::Healthy);
    s.aside(&format!("docker exec pulse-1 sh -c 'kill -CONT {pid}'")).code.expect("an exit code");
    let well = look(&|look| !stalled(look));
    s.claim("it goes on, and nothing is wrong", !stalled(&well));
    s.run("cargo xtask cluster status pulse --watch 0.5 --count 2 --heartbeat 2>/dev/null");
    s.finish();
}

async fn count(client: &tokio_postgres::Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.expect("an answer").get(0)
}

fn late_on_purpose() {
    let mut s = Scenario::new("late_on_purpose", ["slow"]);
    s.run("cargo xtask cluster up slow --replicas 2");
    s.sql("slow-1", "CREATE TABLE t (x int)");
    s.run("cargo xtask cluster wait slow --replayed now");
    s.note("an hour late, also after a restart");
    s.run("cargo xtask cluster lag set slow-2 1h");
    s.restart("slow-2");
    s.run("cargo xtask cluster wait --streaming --node slow-2 --timeout 2min");
    s.run("cargo xtask cluster lag show slow");
    s.sql("slow-1", "INSERT INTO t VALUES (1)");
    s.run("cargo xtask cluster wait slow --replayed now --node slow-3");
    s.expect("slow-3", ROWS, "1");
    s.expect("slow-2", ROWS, "0");
    s.note("a pause begins after the record that waits for its hour");
    s.exits(1, "cargo xtask cluster lag pause slow-2");
    s.run("cargo xtask cluster lag resume slow-2");
    s.run("cargo xtask cluster lag set slow-2 0");
    s.sql_until("slow-2", ROWS, "1", PATIENCE);
    s.expect("slow-2", "SELECT count(*) FROM pg_file_settings WHERE name = 'recovery_min_apply_delay'", "0");

    s.note("not at all");
    s.run("cargo xtask cluster lag pause slow-2");
    s.run("cargo xtask cluster lag pause slow-2");
    s.sql("slow-1", "INSERT INTO t VALUES (2)");
    s.run("cargo xtask cluster wait slow --replayed now --node slow-3");
    s.expect("slow-2", ROWS, "1");
    s.run("cargo xtask cluster lag show slow");
    s.run("cargo xtask cluster lag resume slow-2");
    s.run("cargo xtask cluster lag resume slow-2");
    s.run("cargo xtask cluster wait slow --replayed now");
    s.expect("slow-2", ROWS, "2");

    s.note("what cannot be");
    for verb in ["pause slow-1", "resume slow-1", "set slow-1 5s", "pause slow-9", "set slow-9 5s"] {
        s.exits(1, &format!("cargo xtask cluster lag {verb}"));
    }
    for verb in ["set slow-2 5", "set slow-2 -5s", "set slow-2 30d", "set slow-2", "pause slow"] {
        s.exits(2, &format!("cargo xtask cluster lag {verb}"));
    }
    s.expect("slow-1", "SHOW recovery_min_apply_delay", "0");
    s.expect("slow-2", "SHOW recovery_min_apply_delay", "0");
    s.stop("slow-2");
    s.exits(1, "cargo xtask cluster lag set slow-2 5s");
    s.run("cargo xtask cluster lag show slow");
    s.finish();
}
