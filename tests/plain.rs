//! A scenario inside a plain `#[test]`, as in anybody's own test suite: no registry, no runner, no snapshot.

use std::time::Duration;

use e2e::Scenario;

#[test]
fn a_replica_is_cut_off_and_catches_up() {
    let mut s = Scenario::new("a_replica_is_cut_off_and_catches_up", ["solo"]);
    s.run("cargo xtask cluster up solo --replicas 1 --volume-size 256MB");
    s.run("cargo xtask cluster chaos partition solo-2");
    s.sql("solo-1", "CREATE TABLE t AS SELECT 1 AS x");
    s.expect("solo-2", "SELECT count(*) FROM pg_class WHERE relname = 't'", "0");
    s.run("cargo xtask cluster chaos heal solo");
    s.sql_until("solo-2", "SELECT x FROM t", "1", Duration::from_secs(60));
    s.finish_unrecorded();
}
