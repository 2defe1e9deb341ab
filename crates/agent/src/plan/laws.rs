//! What holds for every specification and every observation.

use pgherd_probe::TimelineId;
use proptest::prelude::*;

use super::{tests::*, *};
use crate::{control_data::ClusterState, data_directory::Misplaced, layout::Layout, secrets::Exposed};

/// What a step does, in a world where nothing else happens.
fn imagine(step: &Step, world: &mut Observed) {
    match step {
        Step::DiscardPartial => world.partial = Partial::Missing,
        Step::GenerateSecrets | Step::WaitForSecrets => {
            world.secrets = secrets_of(world.secrets.system_identifier());
        }
        Step::WaitForUpstream(_) => {
            world.upstream = answer_of(world.secrets.system_identifier().unwrap_or(OURS));
        }
        Step::AskUpstream(_) => world.upstream = UpstreamFacts::Unreachable("refused".into()),
        Step::Initialize => world.staged = data_of(OURS, false),
        Step::RecordSystemIdentifier(identifier) => world.secrets = secrets_of(Some(*identifier)),
        Step::WriteGrant(grant) => world.grant = GrantFile::Granted(*grant),
        Step::Clone { system_identifier, .. } => world.staged = data_of(*system_identifier, true),
        Step::PutInPlace => {
            assert!(world.data.is_vacant(), "data would be replaced");
            world.data = std::mem::replace(&mut world.staged, DataDirectory::Missing);
        }
        Step::DropSlot(_) | Step::CreateSlot(_) | Step::StartPrimary(_) | Step::StartReplica(_) => {}
    }
}

fn identifiers() -> impl Strategy<Value = SystemIdentifier> {
    prop_oneof![Just(OURS), Just(THEIRS)]
}

fn directories() -> impl Strategy<Value = DataDirectory> {
    let states = prop_oneof![
        Just(ClusterState::ShutDown),
        Just(ClusterState::ShutDownInRecovery),
        Just(ClusterState::InProduction),
        Just(ClusterState::InArchiveRecovery),
        Just(ClusterState::InBetween),
    ];
    let initialized =
        (identifiers(), 1..3_u32, states, any::<bool>()).prop_map(|(system_identifier, tli, state, standby)| {
            let control = ControlData { system_identifier, timeline: TimelineId(tli), state };
            DataDirectory::Initialized { control, standby }
        });
    prop_oneof![
        2 => Just(DataDirectory::Missing),
        1 => Just(DataDirectory::Empty),
        1 => Just(DataDirectory::OtherMajor("15".into())),
        1 => Just(DataDirectory::RecoveryConf("17".into())),
        1 => Just(DataDirectory::Damaged("torn".into())),
        1 => Just(DataDirectory::Foreign(vec!["precious".into()])),
        6 => initialized,
    ]
}

fn worlds() -> impl Strategy<Value = Observed> {
    let partials =
        prop_oneof![Just(Partial::Missing), Just(Partial::Ours), Just(Partial::Foreign(vec!["precious".into()]))];
    let misplaced = proptest::option::weighted(
        0.1,
        Just(Misplaced { path: "/data".into(), version: "15".into(), recovery_conf: false }),
    );
    let grants = prop_oneof![
        1 => Just(GrantFile::Missing),
        1 => Just(GrantFile::Revoked("revoked".into())),
        3 => (identifiers(), 1..3_u32).prop_map(|(system_identifier, timeline)| {
            GrantFile::Granted(Grant { system_identifier, timeline: TimelineId(timeline) })
        }),
    ];
    let missing = prop_oneof![
        Just(vec![]),
        Just(vec!["app-password"]),
        Just(vec!["ca.key", "ca.crt"]),
        Just(vec!["replication-password", "app-password", "ca.key", "ca.crt"]),
    ];
    let exposed = Exposed { path: "/run/pgherd/secrets/ca.key".into(), owner: 0, mode: 0o644 };
    let secrets = prop_oneof![
        1 => Just(Secrets::NotMounted),
        1 => Just(Secrets::Exposed(exposed)),
        4 => (missing, proptest::option::of(identifiers()))
            .prop_map(|(missing, system_identifier)| Secrets::Mounted { missing, system_identifier }),
    ];
    let upstreams = prop_oneof![
        2 => Just(UpstreamFacts::NotAsked),
        1 => Just(UpstreamFacts::Unreachable("refused".into())),
        3 => (identifiers(), 17..19_u16, any::<bool>()).prop_map(|(system_identifier, major, has_slot)| {
            UpstreamFacts::Identified(Identity { system_identifier, timeline: TimelineId(1), major, has_slot })
        }),
    ];
    (directories(), proptest::bool::weighted(0.1), partials, directories(), misplaced, grants, secrets, upstreams)
        .prop_map(|(data, data_is_mount, partial, staged, misplaced, grant, secrets, upstream)| Observed {
            layout: Layout::of_image(17),
            data,
            data_is_mount,
            data_place: None,
            partial,
            staged,
            misplaced,
            grant,
            secrets,
            upstream,
        })
}

fn specs() -> impl Strategy<Value = NodeSpec> {
    prop_oneof![Just(primary()), Just(replica()), Just(trusting(primary())), Just(trusting(replica()))]
}

proptest! {
    #[test]
    fn every_state_is_planned_for_and_some_step_comes_of_it(spec in specs(), world in worlds()) {
        if let Ok(steps) = plan(&spec, &world) {
            prop_assert!(!steps.is_empty());
        }
    }

    #[test]
    fn nothing_foreign_is_deleted_or_replaced(spec in specs(), world in worlds()) {
        let steps = plan(&spec, &world).unwrap_or_default();
        if steps.contains(&Step::DiscardPartial) {
            prop_assert_eq!(&world.partial, &Partial::Ours);
        }
        let makes = |step: &Step| matches!(step, Step::Initialize | Step::Clone { .. } | Step::PutInPlace);
        if steps.iter().any(makes) {
            prop_assert!(world.data.is_vacant());
        }
    }

    #[test]
    fn nobody_writes_without_a_grant(spec in specs(), world in worlds()) {
        for step in plan(&spec, &world).unwrap_or_default() {
            match (&step, &world.data) {
                (Step::StartPrimary(grant), DataDirectory::Initialized { control, standby: false }) => {
                    prop_assert_eq!(&world.grant, &GrantFile::Granted(*grant));
                    prop_assert_eq!(grant.system_identifier, control.system_identifier);
                    prop_assert_eq!(grant.timeline, control.timeline);
                }
                (Step::StartPrimary(_), data) => prop_assert!(false, "would start {:?} read-write", data),
                (Step::WriteGrant(_), _) => prop_assert!(world.data.is_vacant(), "a grant for old data"),
                _ => {}
            }
        }
    }

    #[test]
    fn no_cluster_is_mixed_with_another(spec in specs(), world in worlds()) {
        let Ok(steps) = plan(&spec, &world) else { return Ok(()) };
        if let (Some(recorded), DataDirectory::Initialized { control, .. }) =
            (world.secrets.system_identifier(), &world.data)
        {
            prop_assert_eq!(recorded, control.system_identifier, "{:?}", steps);
        }
    }

    /// With a crash after any number of steps, which forgets nothing but what the upstream said.
    #[test]
    fn every_way_ends(spec in specs(), mut world in worlds(), crashes in proptest::collection::vec(0..4_usize, 0..3)) {
        for survived in crashes {
            for step in plan(&spec, &world).unwrap_or_default().iter().take(survived) {
                imagine(step, &mut world);
            }
            world.upstream = UpstreamFacts::NotAsked;
        }
        for _ in 0..5 {
            let Ok(steps) = plan(&spec, &world) else { return Ok(()) };
            for step in &steps {
                if matches!(step, Step::StartPrimary(_) | Step::StartReplica(_)) {
                    prop_assert_eq!(steps.len(), 1, "a converged node is only started");
                    prop_assert_eq!(plan(&spec, &world), Ok(steps.clone()));
                    return Ok(());
                }
                imagine(step, &mut world);
            }
        }
        prop_assert!(false, "no end after five rounds: {:?}", world);
    }
}
