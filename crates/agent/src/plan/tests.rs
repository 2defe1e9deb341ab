mod clone_from;

use pgherd_probe::{History, Lsn, TimelineId};

use super::*;
use crate::{
    data_directory::Misplaced,
    layout::Layout,
    place::{Owner, Place},
    rejoin::Standing,
    secrets::Exposed,
};

pub(super) const OURS: SystemIdentifier = SystemIdentifier(7301);
pub(super) const THEIRS: SystemIdentifier = SystemIdentifier(7299);

pub(super) fn primary() -> NodeSpec {
    NodeSpec::new("demo-1", Role::Primary)
}

pub(super) fn replica() -> NodeSpec {
    NodeSpec { role: Role::Replica { upstream: "demo-1".parse().unwrap() }, ..primary() }
}

pub(super) fn trusting(spec: NodeSpec) -> NodeSpec {
    NodeSpec { authentication: Authentication::Trust, ..spec }
}

/// A new node beside a new secrets volume.
fn blank() -> Observed {
    let missing = vec!["replication-password", "rewind-password", "app-password", "ca.key", "ca.crt"];
    Observed::nothing(Layout::of_image(17), Secrets::Mounted { missing, system_identifier: None })
}

pub(super) fn secrets_of(system_identifier: Option<SystemIdentifier>) -> Secrets {
    Secrets::Mounted { missing: vec![], system_identifier }
}

pub(super) fn control_of(system_identifier: SystemIdentifier, timeline: u32, state: ClusterState) -> ControlData {
    let (timeline, position) = (TimelineId(timeline), Lsn(0x300_0028));
    ControlData { system_identifier, timeline, state, position, rewindable: true, segment_size: 16 << 20 }
}

pub(super) fn data_of(system_identifier: SystemIdentifier, standby: bool) -> DataDirectory {
    let state = if standby { ClusterState::ShutDownInRecovery } else { ClusterState::ShutDown };
    DataDirectory::Initialized { control: control_of(system_identifier, 1, state), standby }
}

/// On timeline 1, with a last record here.
fn standing_at(last_record: u64, standby: bool) -> Standing {
    let (timeline, history, segment_size) = (TimelineId(1), History::default(), 16 << 20);
    let (last_record, read_to) = (Lsn(last_record), Some(Lsn(last_record + 24)));
    Standing { timeline, recorded: timeline, history, last_record, read_to, standby, rewindable: true, segment_size }
}

fn grant_of(system_identifier: SystemIdentifier) -> GrantFile {
    GrantFile::Granted(Grant { system_identifier, timeline: TimelineId(1) })
}

pub(super) fn identity(system_identifier: SystemIdentifier) -> Identity {
    Identity {
        system_identifier,
        timeline: TimelineId(1),
        position: Lsn(0x400_0000),
        in_recovery: false,
        major: 17,
        slot: Slot::Missing,
    }
}

fn answer_of(system_identifier: SystemIdentifier) -> UpstreamFacts {
    UpstreamFacts::Identified(identity(system_identifier))
}

fn traced(identity: Identity, standing: Standing, history: &str) -> UpstreamFacts {
    UpstreamFacts::Traced(identity, standing, lineage_of(history))
}

pub(super) fn lineage_of(history: &str) -> Lineage {
    Lineage { history: history.parse().unwrap(), oldest_wal: None, other_wal: None }
}

fn place_of_root() -> Place {
    let (owner, asked_by) = (Owner { uid: 0, gid: 0 }, Owner { uid: 999, gid: 999 });
    Place { path: Layout::of_image(17).data(), owner, mode: 0o700, read_only: false, in_memory: false, asked_by }
}

fn render(spec: &NodeSpec, observed: &Observed) -> String {
    match plan(spec, observed) {
        Ok(steps) => steps.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(refusal) => format!("refused: {refusal}\nhint: {}", refusal.hint()),
    }
}

#[test]
fn a_primary_comes_to_be() {
    let known = Observed { secrets: secrets_of(Some(OURS)), ..blank() };
    let rounds = [
        Observed { partial: Partial::Ours, ..blank() },
        Observed { staged: data_of(OURS, false), secrets: secrets_of(None), ..blank() },
        Observed { staged: data_of(OURS, false), ..known.clone() },
        Observed { data: data_of(OURS, false), grant: grant_of(OURS), ..known },
    ];
    let plans: Vec<_> = rounds.iter().map(|observed| render(&primary(), observed)).collect();
    insta::assert_snapshot!(plans.join("\n---\n"), @"
    discarding the unfinished work of an earlier start
    generating the cluster's secrets
    initializing a new data directory
    ---
    recording system identifier 7301 in the secrets volume
    ---
    granting writes to system identifier 7301, timeline 1
    putting the data directory in place
    ---
    starting postgresql as primary
    ");
}

#[test]
fn what_was_brought_is_adopted_instead() {
    let brought = |standby| Observed { brought: data_of(OURS, standby), partial: Partial::Ours, ..blank() };
    let of = |brought| Observed { brought, ..blank() };
    let plans = [
        render(&primary(), &brought(false)),
        render(&primary(), &brought(true)),
        render(&primary(), &of(DataDirectory::OtherMajor("15".into()))),
        render(&primary(), &Observed { secrets: secrets_of(Some(OURS)), ..brought(false) }),
    ];
    insta::assert_snapshot!(plans.join("\n---\n"), @r#"
    discarding the unfinished work of an earlier start
    generating the cluster's secrets
    adopting data of system identifier 7301, timeline 1, shut down
    ---
    refused: data directory is a replica's (system identifier 7301, timeline 1, shut down in recovery), but the node is to be primary
    hint: run it as a replica; a replica becomes primary by promotion, and never by a new role alone
    ---
    refused: /var/lib/postgresql/17/brought holds data of PostgreSQL 15, and this image is PostgreSQL 17
    hint: run them with the image of PostgreSQL 15
    ---
    refused: this would be a second primary: the disk is empty, and the secrets volume belongs to system identifier 7301
    hint: mount the volume that holds the data of that system identifier; or, if they are gone for good, give the new cluster a new secrets volume
    "#);
}

#[test]
fn a_replica_comes_to_be() {
    let known = Observed { secrets: secrets_of(Some(OURS)), ..blank() };
    let with_slot = Identity { slot: Slot::Kept, ..identity(OURS) };
    let streams = traced(with_slot, standing_at(0x300_0028, true), "");
    let rounds = [
        blank(),
        known.clone(),
        Observed { upstream: answer_of(OURS), ..known.clone() },
        Observed { upstream: UpstreamFacts::Identified(with_slot), partial: Partial::Ours, ..known.clone() },
        Observed { staged: data_of(OURS, true), upstream: answer_of(OURS), ..known.clone() },
        Observed { data: data_of(OURS, true), ..known.clone() },
        Observed { data: data_of(OURS, true), upstream: answer_of(OURS), ..known.clone() },
        Observed { data: data_of(OURS, true), upstream: streams, ..known.clone() },
        Observed { data: data_of(OURS, true), upstream: UpstreamFacts::Unreachable("refused".into()), ..known },
    ];
    let plans: Vec<_> = rounds.iter().map(|observed| render(&replica(), observed)).collect();
    insta::assert_snapshot!(plans.join("\n---\n"), @r#"
    waiting for the primary to fill the secrets volume
    ---
    waiting for upstream "demo-1:5432"
    ---
    creating a replication slot on "demo-1:5432"
    cloning system identifier 7301 from "demo-1:5432"
    ---
    discarding the unfinished work of an earlier start
    dropping the slot of an earlier clone on "demo-1:5432"
    creating a replication slot on "demo-1:5432"
    cloning system identifier 7301 from "demo-1:5432"
    ---
    putting the data directory in place
    ---
    asking upstream "demo-1:5432" who it is
    ---
    asking upstream "demo-1:5432" who it is
    ---
    rejoin: streaming: the upstream is on our timeline 1, on which we are at 0/3000028
    starting postgresql as a replica of "demo-1:5432"
    ---
    starting postgresql as a replica of "demo-1:5432"
    "#);
}

#[test]
fn secrets_are_ours_alone_and_made_once() {
    let exposed = Exposed { path: "/run/pgherd/secrets/ca.key".into(), owner: 0, mode: 0o644 };
    let of_an_older_agent = |standby| Observed {
        data: data_of(OURS, standby),
        grant: grant_of(OURS),
        secrets: Secrets::Mounted { missing: vec!["ca.key", "ca.crt"], system_identifier: Some(OURS) },
        ..blank()
    };
    let plans = [
        render(&primary(), &Observed { secrets: Secrets::Exposed(exposed), ..blank() }),
        render(&primary(), &of_an_older_agent(false)),
        render(&replica(), &of_an_older_agent(true)),
        render(&trusting(primary()), &of_an_older_agent(false)),
    ];
    insta::assert_snapshot!(plans.join("\n---\n"), @r#"
    refused: "/run/pgherd/secrets/ca.key" has mode 0644 and owner 0, and only user 999 may read it
    hint: as root on the secrets volume: chown 999:999 /run/pgherd/secrets/ca.key && chmod 0600 /run/pgherd/secrets/ca.key; then rotate it
    ---
    generating the cluster's secrets
    ---
    waiting for the primary to fill the secrets volume
    ---
    starting postgresql as primary
    "#);
}

#[test]
fn refusals_carry_both_sides() {
    let known = Observed { secrets: secrets_of(Some(OURS)), ..blank() };
    let misplaced = |path: &str, version: &str| {
        Some(Misplaced { path: path.into(), version: version.into(), recovery_conf: version == "9.6" })
    };
    let newer = UpstreamFacts::Identified(Identity { major: 18, ..identity(OURS) });
    let foreign = || vec!["precious".to_owned()];
    let cases = [
        (primary(), Observed { secrets: Secrets::NotMounted, ..blank() }),
        (primary(), known.clone()),
        (primary(), Observed { data: data_of(OURS, false), grant: grant_of(OURS), ..blank() }),
        (primary(), Observed { data: data_of(THEIRS, false), grant: grant_of(THEIRS), ..known.clone() }),
        (primary(), Observed { data: data_of(OURS, true), ..known.clone() }),
        (primary(), Observed { data: data_of(OURS, false), ..known.clone() }),
        (primary(), Observed { data: data_of(OURS, false), grant: grant_of(THEIRS), ..known.clone() }),
        (
            primary(),
            Observed {
                data: data_of(OURS, false),
                grant: GrantFile::Revoked("revoked by demo-2 at timeline 2".into()),
                ..known.clone()
            },
        ),
        (primary(), Observed { data: DataDirectory::Foreign(foreign()), ..blank() }),
        (primary(), Observed { data: DataDirectory::OtherMajor("15".into()), ..blank() }),
        (primary(), Observed { data: DataDirectory::OtherMajor("11".into()), ..blank() }),
        (replica(), Observed { data: DataDirectory::RecoveryConf("11".into()), ..blank() }),
        (replica(), Observed { data: DataDirectory::RecoveryConf("17".into()), ..blank() }),
        (primary(), Observed { data: DataDirectory::Damaged("could not open file".into()), ..blank() }),
        (primary(), Observed { misplaced: misplaced("/var/lib/postgresql/15/data", "15"), ..blank() }),
        (primary(), Observed { misplaced: misplaced("/var/lib/postgresql/data", "17"), ..blank() }),
        (replica(), Observed { misplaced: misplaced("/var/lib/postgresql/data", "9.6"), ..blank() }),
        (primary(), Observed { partial: Partial::Foreign(foreign()), ..blank() }),
        (primary(), Observed { data: DataDirectory::Empty, data_is_mount: true, ..blank() }),
        (replica(), Observed { data: data_of(OURS, true), data_place: Some(place_of_root()), ..known.clone() }),
        (replica(), Observed { upstream: answer_of(THEIRS), ..known.clone() }),
        (replica(), Observed { upstream: newer, ..known.clone() }),
        (replica(), Observed { data: data_of(THEIRS, true), ..known.clone() }),
        (
            replica(),
            Observed {
                data: data_of(OURS, false),
                upstream: traced(identity(OURS), standing_at(0x300_0028, false), ""),
                ..known
            },
        ),
        (
            trusting(replica()),
            Observed {
                data: data_of(OURS, true),
                secrets: Secrets::NotMounted,
                upstream: answer_of(THEIRS),
                ..blank()
            },
        ),
    ];
    let refusals: Vec<_> = cases.iter().map(|(spec, observed)| render(spec, observed)).collect();
    assert!(refusals.iter().all(|refusal| refusal.starts_with("refused: ")));
    insta::assert_snapshot!(refusals.join("\n---\n"), @r#"
    refused: no secrets volume is mounted at /run/pgherd/secrets
    hint: mount the volume that all nodes of the cluster share, as in: docker run -v pg_secrets:/run/pgherd/secrets …; or open the node to everyone by -e POSTGRES_HOST_AUTH_METHOD=trust
    ---
    refused: this would be a second primary: the disk is empty, and the secrets volume belongs to system identifier 7301
    hint: mount the volume that holds the data of that system identifier; or, if they are gone for good, give the new cluster a new secrets volume
    ---
    refused: data directory of system identifier 7301 needs its secrets, but the volume has no replication-password and no app-password
    hint: mount the secrets volume that this data directory was made with
    ---
    refused: system identifier mismatch: data directory has 7299, the secrets volume has 7301
    hint: one of the volumes, or the upstream, belongs to another cluster; nothing was touched
    ---
    refused: data directory is a replica's (system identifier 7301, timeline 1, shut down in recovery), but the node is to be primary
    hint: run it as a replica; a replica becomes primary by promotion, and never by a new role alone
    ---
    refused: no grant to write to system identifier 7301, timeline 1: there is none
    hint: another node may be primary now; nothing was touched; run this one as a replica of it, and it rejoins by itself; if you know that there is no other, permit it by "pgherd-agent grant" in a container on its volume
    ---
    refused: no grant to write to system identifier 7301, timeline 1: there is one for system identifier 7299, timeline 1
    hint: another node may be primary now; nothing was touched; run this one as a replica of it, and it rejoins by itself; if you know that there is no other, permit it by "pgherd-agent grant" in a container on its volume
    ---
    refused: no grant to write to system identifier 7301, timeline 1: the file says "revoked by demo-2 at timeline 2"
    hint: another node may be primary now; nothing was touched; run this one as a replica of it, and it rejoins by itself; if you know that there is no other, permit it by "pgherd-agent grant" in a container on its volume
    ---
    refused: /var/lib/postgresql/17/data is neither empty nor a data directory: it holds "precious"
    hint: nothing was touched; mount another volume, or move these files away
    ---
    refused: /var/lib/postgresql/17/data holds data of PostgreSQL 15, and this image is PostgreSQL 17
    hint: run them with the image of PostgreSQL 15
    ---
    refused: /var/lib/postgresql/17/data holds data of PostgreSQL 11, and this image is PostgreSQL 17
    hint: nothing was touched; bring them over by pg_upgrade or by a dump and restore
    ---
    refused: /var/lib/postgresql/17/data holds data of PostgreSQL 11 with a recovery.conf, with which PostgreSQL 17 does not start
    hint: nothing was touched; let PostgreSQL 11 end their recovery first, then bring them over by pg_upgrade or by a dump and restore, or give this replica an empty volume, to clone an upgraded primary to
    ---
    refused: /var/lib/postgresql/17/data holds data of PostgreSQL 17 with a recovery.conf, with which PostgreSQL 17 does not start
    hint: nothing was touched; move the file away: since PostgreSQL 12 its settings are ordinary ones, and standby.signal or recovery.signal stands in its place
    ---
    refused: /var/lib/postgresql/17/data has a PG_VERSION, but its control data cannot be read: could not open file
    hint: nothing was touched; restore pg_control, or mount another volume
    ---
    refused: /var/lib/postgresql/15/data holds data of PostgreSQL 15, and this image keeps data of PostgreSQL 17 in /var/lib/postgresql/17/data
    hint: run them with the image of PostgreSQL 15, or mount a volume of its own here
    ---
    refused: /var/lib/postgresql/data holds data of PostgreSQL 17, and this image keeps data of PostgreSQL 17 in /var/lib/postgresql/17/data
    hint: with no server running on them, move them to /var/lib/postgresql/17/data
    ---
    refused: /var/lib/postgresql/data holds data of PostgreSQL 9.6 with a recovery.conf, and this image keeps data of PostgreSQL 17 in /var/lib/postgresql/17/data
    hint: nothing was touched; let PostgreSQL 9.6 end their recovery first, then bring them over by pg_upgrade or by a dump and restore, or give this replica an empty volume, to clone an upgraded primary to
    ---
    refused: /var/lib/postgresql/17/partial is neither empty nor a data directory: it holds "precious"
    hint: nothing was touched; mount another volume, or move these files away
    ---
    refused: /var/lib/postgresql/17/data is a mount point, into which no finished data directory can be renamed
    hint: mount the volume at /var/lib/postgresql instead
    ---
    refused: data directory "/var/lib/postgresql/17/data" belongs to 0:0 and has mode 0700; PostgreSQL runs as 999:999 and needs mode 0700 or 0750
    hint: give it to the node, as in: chown -R 999:999 /var/lib/postgresql/17/data && chmod u=rwX,go= /var/lib/postgresql/17/data, with the path that it has on the host
    ---
    refused: system identifier mismatch: the secrets volume has 7301, upstream "demo-1:5432" has 7299
    hint: one of the volumes, or the upstream, belongs to another cluster; nothing was touched
    ---
    refused: upstream "demo-1:5432" is PostgreSQL 18, and this image is PostgreSQL 17
    hint: use the image of PostgreSQL 18
    ---
    refused: system identifier mismatch: data directory has 7299, the secrets volume has 7301
    hint: one of the volumes, or the upstream, belongs to another cluster; nothing was touched
    ---
    refused: data directory is a primary's, and upstream "demo-1:5432" is on the same timeline 1: nobody was promoted in its place
    hint: nothing was touched; run it as the primary; or promote the upstream first, and this node follows it
    ---
    refused: system identifier mismatch: data directory has 7301, upstream "demo-1:5432" has 7299
    hint: one of the volumes, or the upstream, belongs to another cluster; nothing was touched
    "#);
}

#[test]
fn trust_needs_no_secrets() {
    let unmounted = Observed { secrets: Secrets::NotMounted, ..blank() };
    assert_eq!(plan(&trusting(primary()), &unmounted), Ok(vec![Step::Initialize]));
    let upstream = "demo-1".parse().unwrap();
    assert_eq!(plan(&trusting(replica()), &unmounted), Ok(vec![Step::WaitForUpstream(upstream)]));
}

/// A node with data, whose upstream was promoted to timeline 2 at 0/4000000.
fn returning(last_record: u64, standby: bool) -> Observed {
    returning_with(standing_at(last_record, standby))
}

fn returning_with(standing: Standing) -> Observed {
    let data = data_of(OURS, standing.standby);
    let upstream = traced(Identity { timeline: TimelineId(2), ..identity(OURS) }, standing, "1 0/4000000");
    Observed { data, upstream, grant: grant_of(OURS), secrets: secrets_of(Some(OURS)), ..blank() }
}

#[test]
fn what_was_rewound_only_starts() {
    let rewound = |slot| {
        let identity = Identity { timeline: TimelineId(2), slot, ..identity(OURS) };
        Observed { upstream: UpstreamFacts::Rewound(identity), ..returning(0x400_0000, true) }
    };
    let plans = [Slot::Kept, Slot::Missing, Slot::Lost].map(|slot| render(&replica(), &rewound(slot)));
    insta::assert_snapshot!(plans.join("\n---\n"), @r#"
    starting postgresql as a replica of "demo-1:5432"
    ---
    creating a replication slot on "demo-1:5432"
    starting postgresql as a replica of "demo-1:5432"
    ---
    asking upstream "demo-1:5432" who it is
    "#);
}

#[test]
fn a_node_comes_back() {
    let crashed =
        DataDirectory::Initialized { control: control_of(OURS, 1, ClusterState::InProduction), standby: false };
    let diverged = || returning(0x500_0000, false);
    let not_rewindable = || returning_with(Standing { rewindable: false, ..standing_at(0x500_0000, false) });
    let cases = [
        returning(0x300_0028, true),
        returning(0x300_0028, false),
        Observed { data: crashed, ..diverged() },
        not_rewindable(),
        Observed { failed_rewind: Some("no space left".into()), partial: Partial::Ours, ..diverged() },
        Observed { staged: data_of(OURS, true), upstream: UpstreamFacts::NotAsked, ..diverged() },
        Observed {
            data: DataDirectory::Missing,
            staged: data_of(OURS, true),
            failed_rewind: Some(String::new()),
            ..diverged()
        },
        Observed { upstream: UpstreamFacts::Unreachable("refused".into()), ..diverged() },
        Observed { followed: Some("demo-3".parse().unwrap()), ..returning(0x500_0000, true) },
        Observed { followed: Some("demo-3".parse().unwrap()), ..returning(0x300_0028, true) },
        Observed { data_is_mount: true, ..not_rewindable() },
        Observed { expired_trash: vec!["data-1".into()], ..returning(0x300_0028, true) },
    ];
    let plans: Vec<_> = cases.iter().map(|observed| render(&replica(), observed)).collect();
    insta::assert_snapshot!(plans.join("\n---\n"), @r#"
    rejoin: streaming: timeline 1 up to 0/3000028 is in the history of the upstream's timeline 2
    creating a replication slot on "demo-1:5432"
    starting postgresql as a replica of "demo-1:5432"
    ---
    rejoin: streaming: timeline 1 up to 0/3000028 is in the history of the upstream's timeline 2
    giving up the permission to write, for "demo-1:5432" has it
    creating a replication slot on "demo-1:5432"
    making the data directory a replica's
    starting postgresql as a replica of "demo-1:5432"
    ---
    rejoin: rewinding: timeline 1 goes on to 0/5000000, and the upstream's timeline 2 left timeline 1 at 0/4000000
    giving up the permission to write, for "demo-1:5432" has it
    keeping the WAL that follows 0/4000000 on timeline 1 in the trash
    recovering the data directory to the end of its own WAL
    rewinding the data directory to "demo-1:5432"
    ---
    rejoin: re-cloning: diverged from timeline 1 after 0/4000000, and with neither checksums nor wal_log_hints nobody knows which pages have changed
    giving up the permission to write, for "demo-1:5432" has it
    creating a replication slot on "demo-1:5432"
    cloning system identifier 7301 from "demo-1:5432"
    ---
    rejoin: re-cloning: an earlier rewind failed: no space left
    giving up the permission to write, for "demo-1:5432" has it
    discarding the unfinished work of an earlier start
    creating a replication slot on "demo-1:5432"
    cloning system identifier 7301 from "demo-1:5432"
    ---
    moving the old data directory to the trash
    ---
    forgetting the failed rewind
    putting the data directory in place
    ---
    waiting for upstream "demo-1:5432"
    ---
    refused: data directory followed "demo-3:5432" and has what its new upstream "demo-1:5432" has not: rewinding: timeline 1 goes on to 0/5000000, and the upstream's timeline 2 left timeline 1 at 0/4000000
    hint: nothing was touched; name an upstream that has all of it; or move this node's data to the trash by "pgherd-agent trash put" in a container on its volume, and it clones anew
    ---
    rejoin: streaming: timeline 1 up to 0/3000028 is in the history of the upstream's timeline 2
    creating a replication slot on "demo-1:5432"
    starting postgresql as a replica of "demo-1:5432"
    ---
    refused: /var/lib/postgresql/17/data is a mount point, into which no finished data directory can be renamed
    hint: mount the volume at /var/lib/postgresql instead
    ---
    rejoin: streaming: timeline 1 up to 0/3000028 is in the history of the upstream's timeline 2
    creating a replication slot on "demo-1:5432"
    removing from the trash for good: "data-1"
    starting postgresql as a replica of "demo-1:5432"
    "#);
    let obedient = NodeSpec { rewind_to_new_upstream: true, ..replica() };
    assert!(render(&obedient, &cases[8]).starts_with("rejoin: rewinding"));
}

#[test]
fn an_old_primary_stays_one_only_with_a_grant_that_nobody_overrules() {
    let running =
        Observed { data: data_of(OURS, false), grant: grant_of(OURS), secrets: secrets_of(Some(OURS)), ..blank() };
    let with_peers = NodeSpec { peers: vec!["demo-2".parse().unwrap()], ..primary() };
    let succession = |timeline| Some(Succession { node: "demo-2".into(), timeline: TimelineId(timeline) });
    let peer = |timeline| PeerFacts::Asked(Some(("demo-2".parse().unwrap(), TimelineId(timeline))));
    let plans = [
        render(&primary(), &Observed { succession: succession(1), ..running.clone() }),
        render(&primary(), &Observed { succession: succession(2), ..running.clone() }),
        render(&with_peers, &running),
        render(&with_peers, &Observed { peers: PeerFacts::Asked(None), ..running.clone() }),
        render(&with_peers, &Observed { peers: peer(1), ..running.clone() }),
        render(&with_peers, &Observed { peers: peer(2), ..running }),
    ];
    insta::assert_snapshot!(plans.join("\n---\n"), @r#"
    starting postgresql as primary
    ---
    refused: data directory is on timeline 1, and node "demo-2" was promoted to timeline 2
    hint: nothing was touched; run this node as a replica of "demo-2", and it rejoins by itself
    ---
    asking "demo-2:5432" for newer timelines
    ---
    starting postgresql as primary
    ---
    starting postgresql as primary
    ---
    refused: data directory is on timeline 1, and node "demo-2:5432" was promoted to timeline 2
    hint: nothing was touched; run this node as a replica of "demo-2:5432", and it rejoins by itself
    "#);
}
