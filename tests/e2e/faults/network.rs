//! Networks that carry nothing, or in one direction only, or little.

use e2e::{Entry, entry};

use super::{Act, Fault, Repeat, Run, Sql, Table, Until};

pub(crate) const SCENARIOS: &[Entry] =
    &[entry!(faults_of_the_network, 2, "what is said of a network that is cut").alone()];

const HEAL: &[Act] = &[Repeat("cargo xtask cluster chaos heal net", "streams after")];

const FAULTS: &[Fault] = &[
    Fault {
        name: "replica and upstream cut off from each other",
        node: "net-2",
        make: &[Run("cargo xtask cluster chaos partition net-2 --from net-1")],
        write: true,
        findings: &["net-2 receive_stalled", "net-2 sender_unheard"],
        within: 5,
        end: HEAL,
    },
    Fault {
        name: "replica cut off from everybody",
        node: "net-2",
        make: &[Run("cargo xtask cluster chaos partition net-2")],
        write: true,
        findings: &["net-2 receive_stalled", "net-2 sender_unheard"],
        within: 5,
        end: HEAL,
    },
    Fault {
        name: "replica hears nothing",
        node: "net-2",
        make: &[Run("cargo xtask cluster chaos partition net-2 --direction in")],
        write: true,
        findings: &["net-2 receive_stalled", "net-2 sender_unheard"],
        within: 5,
        end: HEAL,
    },
    Fault {
        name: "replica is not heard",
        node: "net-2",
        make: &[Run("cargo xtask cluster chaos partition net-2 --direction out")],
        // What is written comes through, unless something else has gone before it that nobody has acknowledged, which is chance.
        write: false,
        findings: &["net-2 sender_unheard"],
        within: 5,
        end: HEAL,
    },
    Fault {
        name: "half-open connection",
        node: "net-2",
        make: &[
            Run("cargo xtask cluster chaos partition net-2 --from net-1"),
            Run("cargo xtask cluster chaos kill net-2 --process walreceiver"),
        ],
        write: true,
        findings: &["net-2 no_receiver", "net-2 sender_unheard"],
        within: 5,
        end: HEAL,
    },
    Fault {
        name: "name server refuses",
        node: "net-2",
        make: &[
            Run("cargo xtask cluster chaos dns net-2"),
            Run("cargo xtask cluster chaos kill net-2 --process walreceiver"),
        ],
        write: true,
        findings: &["net-2 no_receiver", "net-2 not_seen_by_upstream", "net-2 slot_inactive"],
        within: 3,
        end: HEAL,
    },
    Fault {
        name: "narrow line, and more written than it carries",
        node: "net-2",
        make: &[
            // A slower one drops so much that its retransmissions alone are silent for longer than a stream may be.
            Run("cargo xtask cluster chaos bandwidth net-1 8mbit"),
            Sql(
                "net-1",
                "SELECT count(pg_logical_emit_message(false, 'ballast', repeat('x', 100000))) FROM generate_series(1, 60)",
            ),
            // Others are asked afterwards: whether they hear from the primary while the line is full is chance.
            Until("net-1", "SELECT replay_lsn = pg_current_wal_lsn() FROM pg_stat_replication"),
        ],
        write: true,
        findings: &[],
        within: 5,
        end: HEAL,
    },
];

fn faults_of_the_network() {
    let mut table = Table::begin("faults_of_the_network", "net", &[], "--replicas 1");
    table.show(FAULTS);
    table.finish();
}
