//! Nodes that stream from whom they should not, or from nobody, or not at all any more.

use e2e::{Entry, entry};

use super::{Begin, Fault, Repeat, Run, Sql, Table, Until};

pub(crate) const SCENARIOS: &[Entry] =
    &[entry!(faults_of_topology, 4, "what is said of nodes that stream from the wrong one, or cannot").alone()];

/// Who streams from a peer of the same cluster.
const TO_TRIO_2: &str = "ALTER SYSTEM SET primary_conninfo = 'host=trio-2 user=replicator passfile=/run/pgherd/replication.pgpass \
                         application_name=trio-3 sslmode=require'";
const TO_TRIO_3: &str = "ALTER SYSTEM SET primary_conninfo = 'host=trio-3 user=replicator passfile=/run/pgherd/replication.pgpass \
                         application_name=trio-2 sslmode=require'";
const TO_A_STRANGER: &str =
    "ALTER SYSTEM SET primary_conninfo = 'host=stranger user=replicator application_name=trio-3'";
const NO_SLOT: &str = "ALTER SYSTEM SET primary_slot_name = ''";
const RELOAD: &str = "SELECT pg_reload_conf()";
const RESET: &str = "ALTER SYSTEM RESET ALL";

const FAULTS: &[Fault] = &[
    Fault {
        name: "replica pointed to another replica",
        node: "trio-3",
        make: &[Sql("trio-3", NO_SLOT), Sql("trio-3", TO_TRIO_2), Sql("trio-3", RELOAD)],
        write: true,
        findings: &["trio-3 wrong_upstream", "trio-3 not_seen_by_upstream", "trio-1 slot_orphaned"],
        within: 5,
        end: &[Sql("trio-3", RESET), Sql("trio-3", RELOAD)],
    },
    Fault {
        name: "two replicas pointed to each other",
        node: "trio-3",
        make: &[
            Sql("trio-3", NO_SLOT),
            Sql("trio-3", TO_TRIO_2),
            Sql("trio-3", RELOAD),
            Sql("trio-2", NO_SLOT),
            Sql("trio-2", TO_TRIO_3),
            Sql("trio-2", RELOAD),
        ],
        write: true,
        findings: &[
            "cluster circle",
            "trio-1 slot_orphaned",
            "trio-1 slot_orphaned",
            "trio-2 wrong_upstream",
            "trio-2 not_seen_by_upstream",
            "trio-3 wrong_upstream",
            "trio-3 not_seen_by_upstream",
        ],
        within: 5,
        end: &[Sql("trio-2", RESET), Sql("trio-2", RELOAD), Sql("trio-3", RESET), Sql("trio-3", RELOAD)],
    },
    Fault {
        name: "replica pointed to a stranger",
        node: "trio-3",
        make: &[Sql("trio-3", NO_SLOT), Sql("trio-3", TO_A_STRANGER), Sql("trio-3", RELOAD)],
        write: true,
        findings: &["trio-3 no_receiver: stranger", "trio-3 not_seen_by_upstream", "trio-1 slot_orphaned"],
        within: 5,
        end: &[Sql("trio-3", RESET), Sql("trio-3", RELOAD)],
    },
    Fault {
        name: "password of the replication role is another",
        node: "trio-2",
        make: &[
            Sql("trio-1", "CREATE TABLE saved AS SELECT rolpassword FROM pg_authid WHERE rolname = 'replicator'"),
            Sql("trio-1", "ALTER ROLE replicator PASSWORD 'another'"),
            Run("cargo xtask cluster chaos kill trio-2 --process walreceiver"),
        ],
        write: true,
        findings: &["trio-2 no_receiver", "trio-2 not_seen_by_upstream", "trio-2 slot_inactive"],
        within: 3,
        end: &[Sql(
            "trio-1",
            "DO $$ BEGIN EXECUTE format('ALTER ROLE replicator PASSWORD %L', (SELECT rolpassword FROM saved)); END $$",
        )],
    },
    Fault {
        name: "synchronous replica missing, and a commit waits",
        node: "trio-1",
        make: &[
            Sql("trio-1", "ALTER SYSTEM SET synchronous_standby_names = 'ghost'"),
            Sql("trio-1", RELOAD),
            Begin("docker exec trio-1 psql -U postgres -c 'INSERT INTO missed DEFAULT VALUES'"),
            Until("trio-1", "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"),
        ],
        write: false,
        findings: &["trio-1 sync_replica_missing: 1 commits wait"],
        within: 3,
        end: &[Sql("trio-1", RESET), Sql("trio-1", RELOAD)],
    },
    Fault {
        name: "replica promoted behind our back",
        node: "trio-3",
        make: &[Sql("trio-3", "SELECT pg_promote()"), Sql("trio-3", "INSERT INTO missed DEFAULT VALUES")],
        write: true,
        findings: &["cluster split_brain", "cluster forked: \"trio-2\"", "trio-3 unexpected_primary"],
        within: 3,
        end: &[
            Run("docker rm -f trio-3"),
            Run("docker volume rm pgherd-trio-3"),
            Repeat("cargo xtask cluster up trio --replicas 2", "streams after"),
        ],
    },
];

fn faults_of_topology() {
    let others = ["stranger", "stranger_secrets"];
    let mut table = Table::begin("faults_of_topology", "trio", &others, "--replicas 2");
    table.s.run(
        "docker run -d --name stranger --network pgherd-trio -v stranger_secrets:/run/pgherd/secrets \
         -e POSTGRES_HOST_AUTH_METHOD=trust pgherd/primary:17",
    );
    table.show(FAULTS);
    table.finish();
}
