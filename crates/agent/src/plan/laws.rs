//! What holds for every specification and every observation.

use pgherd_probe::{History, Lsn, TimelineId};
use proptest::prelude::*;

use super::{tests::*, *};
use crate::{data_directory::Misplaced, layout::Layout, rejoin::Standing, secrets::Exposed};

/// What is, and what others would say if they were asked.
#[derive(Debug, Clone)]
struct World {
    observed: Observed,
    /// Where the data in place stand.
    standing: Standing,
    /// Nothing where it is out of reach.
    upstream: Option<(Identity, Lineage)>,
    peers: PeerFacts,
    /// Whether `pg_rewind` succeeds.
    rewinds: bool,
}

impl World {
    /// What comes of asking the upstream.
    fn answer(&self) -> UpstreamFacts {
        match self.upstream.clone() {
            Some((identity, lineage)) => UpstreamFacts::Traced(identity, self.standing.clone(), lineage),
            None => UpstreamFacts::Unreachable("refused".into()),
        }
    }

    /// What a step does, in a world where nothing else happens.
    fn imagine(&mut self, step: &Step) {
        let world = &mut self.observed;
        match step {
            Step::DiscardPartial => world.partial = Partial::Missing,
            Step::GenerateSecrets | Step::WaitForSecrets => {
                world.secrets = secrets_of(world.secrets.system_identifier());
            }
            Step::WaitForUpstream(_) => {
                // It comes, or the node gives up.
                let identifier = world.secrets.system_identifier().unwrap_or(OURS);
                let (identity, _) = self.upstream.get_or_insert_with(|| (identity(identifier), lineage_of("")));
                world.upstream = UpstreamFacts::Identified(*identity);
            }
            Step::AskUpstream { .. } => self.observed.upstream = self.answer(),
            Step::AskPeers(_) => world.peers = self.peers.clone(),
            Step::Initialize => world.staged = data_of(OURS, false),
            Step::Adopt(_) => world.staged = std::mem::replace(&mut world.brought, DataDirectory::Missing),
            Step::RecordSystemIdentifier(identifier) => world.secrets = secrets_of(Some(*identifier)),
            Step::WriteGrant(grant) => world.grant = GrantFile::Granted(*grant),
            Step::RevokeGrant(_) => world.grant = GrantFile::Revoked("revoked".into()),
            Step::Clone { system_identifier, .. } => world.staged = data_of(*system_identifier, true),
            Step::PutInPlace => {
                assert!(world.data.is_vacant(), "data would be replaced");
                world.data = std::mem::replace(&mut world.staged, DataDirectory::Missing);
                self.arrive();
            }
            Step::ThrowAwayData => world.data = DataDirectory::Missing,
            Step::ForgetRewind => world.failed_rewind = None,
            Step::ExpireTrash(_) => world.expired_trash.clear(),
            Step::BecomeReplica => self.set_standby(true),
            Step::Recover => self.set_standby(false),
            Step::Rewind { identity, .. } if self.rewinds => {
                world.upstream = UpstreamFacts::Rewound(*identity);
                self.set_standby(true);
                self.arrive();
            }
            Step::Rewind { .. } => world.failed_rewind = Some("no space left".into()),
            Step::DropSlot(_) => self.set_slot(Slot::Missing),
            Step::CreateSlot(_) => self.set_slot(Slot::Kept),
            Step::Rejoin(_) | Step::KeepDivergentWal { .. } | Step::StartPrimary(_) | Step::StartReplica(_) => {}
        }
    }

    /// What was said is forgotten after a round, and in a crash.
    fn forget(&mut self) {
        (self.observed.upstream, self.observed.peers) = (UpstreamFacts::NotAsked, PeerFacts::NotAsked);
    }

    /// A clone, and what was rewound, stand where the upstream does.
    fn arrive(&mut self) {
        if let Some((identity, lineage)) = &mut self.upstream {
            lineage.other_wal = None;
            let (timeline, history) = (identity.timeline, lineage.history.clone());
            let (last_record, read_to) = (Lsn(identity.position.0 - 1), Some(identity.position));
            let recorded = timeline;
            self.standing =
                Standing { timeline, recorded, history, last_record, read_to, standby: true, ..self.standing };
        }
    }

    fn set_standby(&mut self, is_standby: bool) {
        if let DataDirectory::Initialized { standby, .. } = &mut self.observed.data {
            *standby = is_standby;
        }
        self.standing.standby = is_standby;
    }

    fn set_slot(&mut self, slot: Slot) {
        if let Some((identity, _)) = &mut self.upstream {
            identity.slot = slot;
        }
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
        (identifiers(), 1..3_u32, states, any::<bool>()).prop_map(|(system_identifier, timeline, state, standby)| {
            DataDirectory::Initialized { control: control_of(system_identifier, timeline, state), standby }
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

/// Timelines 1 to 3, each of which left the one before it at one of two places.
fn lineages() -> impl Strategy<Value = (TimelineId, History)> {
    proptest::collection::vec(3..5_u64, 0..3).prop_map(|places| {
        let line = |(index, place): (usize, &u64)| format!("{} 0/{}\n", index + 1, place * 1_000_000 + index as u64);
        let history: String = places.iter().enumerate().map(line).collect();
        (TimelineId(u32::try_from(places.len()).unwrap() + 1), history.parse().unwrap())
    })
}

fn upstreams() -> impl Strategy<Value = Option<(Identity, Lineage)>> {
    let slots = prop_oneof![Just(Slot::Missing), Just(Slot::Kept), Just(Slot::Lost)];
    let other_wal = proptest::option::weighted(0.2, Just(Lsn(0x200_0028)));
    let identities = (identifiers(), 17..19_u16, any::<bool>(), slots, lineages(), other_wal);
    let identities =
        identities.prop_map(|(system_identifier, major, in_recovery, slot, (timeline, history), other_wal)| {
            let position = Lsn(0x500_0000);
            let identity = Identity { system_identifier, timeline, position, in_recovery, major, slot };
            (identity, Lineage { history, oldest_wal: None, other_wal })
        });
    proptest::option::weighted(0.8, identities)
}

fn standings() -> impl Strategy<Value = Standing> {
    (lineages(), 2..6_u64, any::<[bool; 2]>()).prop_map(|((timeline, history), place, [rewindable, is_recorded])| {
        let (last_record, segment_size) = (Lsn(place << 24), 16 << 20);
        let (read_to, recorded) = (Some(last_record), if is_recorded { timeline } else { TimelineId(1) });
        Standing { timeline, recorded, history, last_record, read_to, standby: true, rewindable, segment_size }
    })
}

/// What lies on the disks.
fn disks() -> impl Strategy<Value = Observed> {
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
    let followed = proptest::option::of(prop_oneof![Just("demo-1"), Just("demo-3")]);
    let rewinds = proptest::option::weighted(0.1, Just("it was interrupted".to_owned()));
    let trash = proptest::collection::vec(Just("data-1".to_owned()), 0..2);
    let brought = prop_oneof![2 => Just(DataDirectory::Missing), 1 => directories()];
    (
        (directories(), proptest::bool::weighted(0.1), partials, directories(), misplaced, grants, secrets),
        (followed, rewinds, trash, brought),
    )
        .prop_map(|((data, data_is_mount, partial, staged, misplaced, grant, secrets), rest)| {
            let (followed, failed_rewind, expired_trash, brought) = rest;
            let followed = followed.map(|name| name.parse().unwrap());
            let nothing = Observed::nothing(Layout::of_image(17), secrets);
            Observed {
                data,
                data_is_mount,
                partial,
                staged,
                brought,
                misplaced,
                grant,
                followed,
                failed_rewind,
                expired_trash,
                ..nothing
            }
        })
}

fn worlds() -> impl Strategy<Value = World> {
    let newest =
        proptest::option::of((2..4_u32).prop_map(|timeline| ("demo-2".parse().unwrap(), TimelineId(timeline))));
    let succession = proptest::option::of(
        (1..3_u32).prop_map(|timeline| Succession { node: "demo-2".into(), timeline: TimelineId(timeline) }),
    );
    (disks(), standings(), upstreams(), newest.prop_map(PeerFacts::Asked), succession, any::<[bool; 3]>()).prop_map(
        |(observed, standing, upstream, peers, succession, [asked, asked_peers, rewinds])| {
            let observed = Observed { succession, ..observed };
            let mut world = World { observed, standing, upstream, peers, rewinds };
            world.standing.standby = matches!(world.observed.data, DataDirectory::Initialized { standby: true, .. });
            if asked {
                world.observed.upstream = world.answer();
            }
            if asked_peers {
                world.observed.peers = world.peers.clone();
            }
            world
        },
    )
}

fn specs() -> impl Strategy<Value = NodeSpec> {
    let with_peers = NodeSpec { peers: vec!["demo-2".parse().unwrap()], ..primary() };
    let obedient = NodeSpec { rewind_to_new_upstream: true, ..replica() };
    let [trusting_primary, trusting_replica] = [primary(), replica()].map(trusting);
    prop_oneof![
        Just(primary()),
        Just(replica()),
        Just(trusting_primary),
        Just(trusting_replica),
        Just(with_peers),
        Just(obedient)
    ]
}

proptest! {
    #[test]
    fn every_state_is_planned_for_and_some_step_comes_of_it(spec in specs(), World { observed: world, .. } in worlds()) {
        if let Ok(steps) = plan(&spec, &world) {
            prop_assert!(!steps.is_empty());
        }
    }

    /// Only the trash takes what was in place, and only when its successor is at hand.
    #[test]
    fn nothing_foreign_is_deleted_or_replaced(spec in specs(), World { observed: world, .. } in worlds()) {
        let steps = plan(&spec, &world).unwrap_or_default();
        for step in &steps {
            match step {
                Step::DiscardPartial => prop_assert_eq!(&world.partial, &Partial::Ours),
                Step::Initialize => prop_assert!(world.data.is_vacant() && world.brought.is_vacant()),
                Step::Adopt(control) => {
                    prop_assert!(world.data.is_vacant() && world.staged.is_vacant());
                    let is_it = matches!(&world.brought, DataDirectory::Initialized { control: it, standby: false } if it == control);
                    prop_assert!(is_it && world.secrets.system_identifier().is_none(), "adopts {:?}", world.brought);
                }
                Step::PutInPlace => prop_assert!(world.data.is_vacant()),
                Step::Clone { .. } if !world.data.is_vacant() => {
                    prop_assert!(matches!(&steps[0], Step::Rejoin(Rejoin::Reclone(_))), "{:?}", steps);
                }
                Step::ThrowAwayData => {
                    let ours = |data: &DataDirectory| matches!(data, DataDirectory::Initialized { .. });
                    prop_assert!(ours(&world.data) && ours(&world.staged));
                }
                Step::ExpireTrash(names) => prop_assert_eq!(names, &world.expired_trash),
                _ => {}
            }
        }
    }

    /// By the one name of two timelines pg_rewind would find nothing to undo, and the walreceiver nothing to object to.
    #[test]
    fn other_wal_is_neither_streamed_to_nor_rewound(spec in specs(), World { observed: world, .. } in worlds()) {
        let UpstreamFacts::Traced(.., Lineage { other_wal: Some(_), .. }) = &world.upstream else { return Ok(()) };
        for step in plan(&spec, &world).unwrap_or_default() {
            let follows = matches!(step, Step::Rewind { .. } | Step::StartReplica(_) | Step::BecomeReplica);
            prop_assert!(!follows, "{:?}", step);
        }
    }

    /// What nobody else has is kept before it is undone.
    #[test]
    fn nothing_is_rewound_that_is_not_kept(spec in specs(), World { observed: world, .. } in worlds()) {
        let steps = plan(&spec, &world).unwrap_or_default();
        if let Some(rewind) = steps.iter().position(|step| matches!(step, Step::Rewind { .. })) {
            let kept = steps.iter().position(|step| matches!(step, Step::KeepDivergentWal { .. }));
            prop_assert!(kept.is_some_and(|kept| kept < rewind), "{:?}", steps);
        }
    }

    #[test]
    fn nobody_writes_without_a_grant(spec in specs(), World { observed: world, .. } in worlds()) {
        for step in plan(&spec, &world).unwrap_or_default() {
            match (&step, &world.data) {
                (Step::StartPrimary(grant), DataDirectory::Initialized { control, standby: false }) => {
                    prop_assert_eq!(&world.grant, &GrantFile::Granted(*grant));
                    prop_assert_eq!(grant.system_identifier, control.system_identifier);
                    prop_assert_eq!(grant.timeline, control.timeline);
                    let newer = world.succession.as_ref().is_some_and(|it| it.timeline > grant.timeline);
                    prop_assert!(!newer, "somebody else was promoted");
                }
                (Step::StartPrimary(_), data) => prop_assert!(false, "would start {:?} read-write", data),
                (Step::WriteGrant(_), _) => prop_assert!(world.data.is_vacant(), "a grant for old data"),
                _ => {}
            }
        }
    }

    #[test]
    fn no_cluster_is_mixed_with_another(spec in specs(), World { observed: world, .. } in worlds()) {
        let Ok(steps) = plan(&spec, &world) else { return Ok(()) };
        if let (Some(recorded), DataDirectory::Initialized { control, .. }) =
            (world.secrets.system_identifier(), &world.data)
        {
            prop_assert_eq!(recorded, control.system_identifier, "{:?}", steps);
        }
    }

    /// With a crash after any number of steps, which forgets nothing but what others said.
    #[test]
    fn every_way_ends(spec in specs(), mut world in worlds(), crashes in proptest::collection::vec(0..5_usize, 0..4)) {
        for survived in crashes {
            let steps = plan(&spec, &world.observed).unwrap_or_default();
            world.forget();
            steps.iter().take(survived).for_each(|step| world.imagine(step));
            world.forget();
        }
        for _ in 0..10 {
            let Ok(steps) = plan(&spec, &world.observed) else { return Ok(()) };
            prop_assert_eq!(plan(&spec, &world.observed), Ok(steps.clone()));
            if let Some(Step::StartPrimary(_) | Step::StartReplica(_)) = steps.last() {
                world.observed.expired_trash.clear();
                let converged = plan(&spec, &world.observed);
                let only_started = converged.iter().flatten().all(|step| {
                    matches!(step, Step::Rejoin(_) | Step::StartPrimary(_) | Step::StartReplica(_))
                });
                let joins = steps.iter().any(|step| matches!(step, Step::CreateSlot(_) | Step::BecomeReplica | Step::RevokeGrant(_)));
                prop_assert!(only_started || joins, "a converged node is only started: {:?}", converged);
                return Ok(());
            }
            world.forget();
            steps.iter().for_each(|step| world.imagine(step));
        }
        prop_assert!(false, "no end after ten rounds: {:?}", world);
    }
}
