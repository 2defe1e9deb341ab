//! An army: sixteen replicas at once.

use std::time::Duration;

use e2e::{Entry, Scenario, entry};

use crate::STREAMING_COUNT;

pub(crate) const SCENARIOS: &[Entry] = &[entry!(sixteen_at_once, 17, "sixteen replicas are cloned at once")];

fn sixteen_at_once() {
    let mut s = Scenario::new("sixteen_at_once", ["army"]);
    s.run("cargo xtask cluster up army --replicas 16");
    s.expect("army-1", STREAMING_COUNT, "16");
    s.expect("army-1", "SELECT count(*) FROM pg_replication_slots WHERE active AND wal_status = 'reserved'", "16");
    s.sql("army-1", "CREATE TABLE t AS SELECT 1 AS x");
    for number in 2..=17 {
        s.sql_until(&format!("army-{number}"), "SELECT count(*) FROM t", "1", Duration::from_secs(60));
    }
    s.finish();
}
