//! Processes that stand still or are gone.

use e2e::{Entry, entry};

use super::{Act, Fault, Repeat, Run, Table};

pub(crate) const SCENARIOS: &[Entry] = &[
    entry!(faults_of_processes, 2, "what is said of processes that stand still, and of nodes that are gone").alone(),
    entry!(faults_of_servers, 2, "what is said of servers that answer whoever is connected").alone(),
];

const HEAL: &[Act] = &[Repeat("cargo xtask cluster chaos heal lab", "streams after")];

const FAULTS: &[Fault] = &[
    Fault {
        name: "wal receiver frozen",
        node: "lab-2",
        make: &[Run("cargo xtask cluster chaos freeze lab-2 --process walreceiver")],
        write: true,
        findings: &["lab-2 receive_stalled", "lab-2 sender_unheard", "lab-2 stopped_processes"],
        within: 3,
        end: HEAL,
    },
    Fault {
        name: "startup process frozen",
        node: "lab-2",
        make: &[Run("cargo xtask cluster chaos freeze lab-2 --process startup")],
        write: true,
        findings: &["lab-2 replay_stalled", "lab-2 stopped_processes"],
        within: 3,
        end: HEAL,
    },
    Fault {
        name: "wal sender frozen",
        node: "lab-1",
        make: &[Run("cargo xtask cluster chaos freeze lab-1 --process walsender")],
        write: true,
        findings: &["lab-2 receive_stalled", "lab-2 sender_unheard", "lab-1 stopped_processes"],
        within: 3,
        end: HEAL,
    },
    Fault {
        name: "container of a replica frozen",
        node: "lab-2",
        make: &[Run("cargo xtask cluster chaos freeze lab-2")],
        write: true,
        findings: &["lab-2 unreachable"],
        within: 7,
        end: HEAL,
    },
    Fault {
        name: "replica killed",
        node: "lab-2",
        make: &[Run("cargo xtask cluster chaos kill lab-2")],
        write: false,
        findings: &["lab-2 stopped"],
        within: 3,
        end: HEAL,
    },
    Fault {
        name: "primary stopped",
        node: "lab-1",
        make: &[Run("cargo xtask cluster chaos stop lab-1")],
        write: false,
        findings: &["cluster no_primary", "lab-1 stopped", "lab-2 no_receiver", "lab-2 upstream_silent"],
        within: 3,
        end: HEAL,
    },
];

const OF_SERVERS: &[Fault] = &[
    Fault {
        name: "postmaster of a replica frozen",
        node: "lab-2",
        make: &[Run("cargo xtask cluster chaos freeze lab-2 --process postmaster")],
        write: true,
        findings: &["lab-2 stopped_processes"],
        within: 2,
        end: HEAL,
    },
    Fault {
        name: "postmaster of the primary frozen",
        node: "lab-1",
        make: &[Run("cargo xtask cluster chaos freeze lab-1 --process postmaster")],
        write: false,
        findings: &["lab-1 stopped_processes"],
        within: 2,
        end: HEAL,
    },
    Fault {
        name: "checkpointer of the primary frozen",
        node: "lab-1",
        make: &[Run("cargo xtask cluster chaos freeze lab-1 --process checkpointer")],
        write: true,
        findings: &["lab-1 stopped_processes"],
        within: 2,
        end: HEAL,
    },
    Fault {
        name: "all processes of a replica frozen",
        node: "lab-2",
        make: &[Run("cargo xtask cluster chaos freeze lab-2 --process all")],
        write: true,
        findings: &["lab-2 unreachable"],
        within: 7,
        end: HEAL,
    },
];

fn faults_of_servers() {
    let mut table = Table::begin("faults_of_servers", "lab", &[], "--replicas 1");
    table.show(OF_SERVERS);
    table.finish();
}

fn faults_of_processes() {
    let mut table = Table::begin("faults_of_processes", "lab", &[], "--replicas 1");
    table.show(FAULTS);
    table.finish();
}
