//! Nodes on their way up or down: there, and not there.

use e2e::{Entry, entry};

use super::{Act, Begin, Fault, Repeat, Run, Sql, Table};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(faults_of_birth, 2, "what is said of nodes that are being made").alone(),
    entry!(faults_of_life, 3, "what is said of nodes on their way up or down").alone(),
];

/// A twentieth of a processor, so that there is time to look.
const INITDB: Fault = Fault {
    name: "initdb under way",
    node: "birth-1",
    make: &[
        Begin("cargo xtask cluster up birth --replicas 1"),
        Repeat("docker inspect --format {{.State.Running}} birth-1", "true"),
        Run("docker update --cpus 0.05 birth-1"),
        Run(
            "docker run -d --name birth-peers --network pgherd-birth --dns 127.0.0.1 --dns-opt timeout:1 --dns-opt attempts:1 \
             -e PGPASSWORD=monitor -e PGCONNECT_TIMEOUT=10 pgherd/peers:17 sleep infinity 2>/dev/null",
        ),
    ],
    write: false,
    findings: &[
        "cluster no_primary",
        "birth-1 starting: initializing a new data directory",
        "birth-2 starting: waiting for upstream",
    ],
    within: 2,
    end: &[Run("docker update --cpus 2 birth-1")],
};

const HEAL: &[Act] = &[Repeat("cargo xtask cluster chaos heal life", "streams after")];

const FAULTS: &[Fault] = &[
    Fault {
        name: "smart shutdown, which waits for whoever is connected",
        node: "life-2",
        make: &[Run("docker exec life-2 pg_ctl stop --mode smart --no-wait")],
        write: true,
        findings: &["life-2 shutting_down"],
        within: 2,
        end: &[Run("docker exec life-2 pg_ctl stop --mode fast --no-wait")],
    },
    Fault {
        name: "shutdown that cannot write its checkpoint",
        node: "life-1",
        make: &[
            Run("cargo xtask cluster chaos freeze life-1 --process checkpointer"),
            Run("docker exec life-1 pg_ctl stop --mode fast --no-wait"),
        ],
        write: false,
        findings: &["cluster no_primary", "life-1 unreachable: shutting down", "life-2 upstream_silent"],
        within: 3,
        end: HEAL,
    },
    Fault {
        name: "recovery after a crash of the primary",
        node: "life-1",
        make: &[
            Sql("life-1", "CREATE TABLE ballast AS SELECT generate_series(1, 3000000) AS x"),
            Run("cargo xtask cluster chaos kill life-1 --process all"),
            Repeat("cargo xtask cluster chaos freeze life-1 --process startup", "done"),
        ],
        write: false,
        findings: &[
            "cluster no_primary",
            "life-1 starting: is starting: …",
            "life-2 no_receiver",
            "life-2 upstream_silent",
        ],
        within: 5,
        end: HEAL,
    },
    Fault {
        name: "clone under way",
        node: "life-3",
        make: &[Run("cargo xtask cluster chaos bandwidth life-1 10mbit"), Begin("cargo xtask cluster scale life 2")],
        write: false,
        findings: &["life-3 starting: cloning …"],
        within: 20,
        end: HEAL,
    },
];

fn faults_of_birth() {
    let mut table = Table::new("faults_of_birth", "birth", &[]);
    table.row(&INITDB);
    table.finish();
}

fn faults_of_life() {
    let mut table = Table::begin("faults_of_life", "life", &[], "--replicas 1");
    table.show(FAULTS);
    table.finish();
}
