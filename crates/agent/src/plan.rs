//! What to do about what is: pure, so that it can be printed, tested and trusted.

use std::path::PathBuf;

use pgherd_probe::SystemIdentifier;

use crate::{
    control_data::{ClusterState, ControlData},
    data_directory::{DataDirectory, Partial},
    grant::{Grant, GrantFile, Succession},
    observe::{Identity, Lineage, Observed, PeerFacts, Slot, UpstreamFacts},
    refusal::Refusal,
    rejoin::{RecloneReason, Rejoin, Standing},
    secrets::Secrets,
    spec::{Authentication, NodeSpec, Role, Upstream},
    step::Step,
};

/// The next steps towards a running node.
///
/// They end where something is to be learned, by waiting or by making it, and then everything is observed anew: going on
/// and coming back after a crash are the same thing. Ten such rounds lead from any state to a start or a refusal.
///
/// # Errors
/// A refusal, in a state that no step may change.
pub fn plan(desired: &NodeSpec, observed: &Observed) -> Result<Vec<Step>, Refusal> {
    refuse_what_is_not_ours(observed)?;
    match &observed.secrets {
        Secrets::Exposed(exposed) => return Err(Refusal::SecretExposed(exposed.clone())),
        Secrets::NotMounted if desired.authentication == Authentication::Scram => {
            return Err(Refusal::SecretsNotMounted(observed.layout.secrets.clone()));
        }
        Secrets::NotMounted | Secrets::Mounted { .. } => {}
    }
    match &desired.role {
        Role::Primary => plan_primary(desired, observed),
        Role::Replica { upstream } => plan_replica(upstream, desired, observed),
    }
}

/// The data that this node has: those in place, else those that are staged.
struct Data<'a> {
    place: &'static str,
    in_place: bool,
    directory: &'a DataDirectory,
}

impl Data<'_> {
    fn of(observed: &Observed) -> Data<'_> {
        if observed.data.is_vacant() {
            Data { place: "staged data directory", in_place: false, directory: &observed.staged }
        } else {
            Data { place: "data directory", in_place: true, directory: &observed.data }
        }
    }

    fn expect_cluster(&self, theirs: SystemIdentifier, authority: &str) -> Result<(), Refusal> {
        match self.directory {
            DataDirectory::Initialized { control: ControlData { system_identifier: ours, .. }, .. }
                if *ours != theirs =>
            {
                let (place, authority) = (self.place, authority.to_owned());
                Err(Refusal::OtherCluster { place, ours: *ours, authority, theirs })
            }
            _ => Ok(()),
        }
    }
}

/// Refuses data that no role could use, wherever they are.
fn refuse_what_is_not_ours(observed: &Observed) -> Result<(), Refusal> {
    let layout = &observed.layout;
    let data = Data::of(observed);
    let path = if data.in_place { layout.data() } else { layout.staged() };
    refuse_what_is_no_data_directory(data.directory, path, layout.major)?;
    if let Some(place) = observed.data_place.as_ref().filter(|place| data.in_place && !place.suits_postgresql()) {
        return Err(Refusal::UnsuitablePlace(place.clone()));
    }
    if let Some(theirs) = observed.secrets.system_identifier() {
        data.expect_cluster(theirs, "the secrets volume")?;
    }
    if data.in_place {
        return Ok(());
    }
    if let Some(found) = &observed.misplaced {
        return Err(Refusal::Misplaced { found: found.clone(), expected: layout.data(), image: layout.major });
    }
    if observed.data_is_mount {
        return Err(Refusal::DataDirectoryIsMount(layout.data()));
    }
    if let Partial::Foreign(entries) = &observed.partial {
        return Err(Refusal::Foreign { path: layout.partial(), entries: entries.clone() });
    }
    Ok(())
}

fn refuse_what_is_no_data_directory(directory: &DataDirectory, path: PathBuf, image: u16) -> Result<(), Refusal> {
    match directory {
        DataDirectory::Foreign(entries) => Err(Refusal::Foreign { path, entries: entries.clone() }),
        DataDirectory::Damaged(reason) => Err(Refusal::Damaged { path, reason: reason.clone() }),
        DataDirectory::OtherMajor(found) => Err(Refusal::OtherMajor { path, found: found.clone(), image }),
        DataDirectory::RecoveryConf(found) => Err(Refusal::RecoveryConf { path, found: found.clone(), image }),
        DataDirectory::Missing | DataDirectory::Empty | DataDirectory::Initialized { .. } => Ok(()),
    }
}

fn plan_primary(desired: &NodeSpec, observed: &Observed) -> Result<Vec<Step>, Refusal> {
    let data = Data::of(observed);
    let control = match data.directory {
        DataDirectory::Initialized { control, standby: false } => control,
        DataDirectory::Initialized { control, standby: true } => return Err(Refusal::ReplicaAsPrimary(*control)),
        _ => return plan_first_start(observed),
    };
    match &observed.secrets {
        Secrets::Mounted { missing, .. } if !missing.is_empty() && desired.authentication == Authentication::Scram => {
            let missing = observed.secrets.missing_passwords();
            if !missing.is_empty() {
                return Err(Refusal::SecretsMissing { ours: control.system_identifier, missing });
            }
            // A certificate authority is nothing that data depend on: those of an older agent had none.
            return Ok(vec![Step::GenerateSecrets]);
        }
        // The record comes first, and alone: of two that race for an empty volume, one finds the other's next.
        Secrets::Mounted { system_identifier: None, .. } => {
            return Ok(vec![Step::RecordSystemIdentifier(control.system_identifier)]);
        }
        _ => {}
    }
    let grant = Grant { system_identifier: control.system_identifier, timeline: control.timeline };
    if !data.in_place {
        return Ok(vec![Step::WriteGrant(grant), Step::PutInPlace]);
    }
    let ours = control.timeline;
    match &observed.succession {
        Some(Succession { node, timeline: theirs }) if *theirs > ours => {
            return Err(Refusal::Superseded { ours, node: node.clone(), theirs: *theirs });
        }
        _ => {}
    }
    if observed.grant != GrantFile::Granted(grant) {
        return Err(Refusal::NotGranted { control: *control, grant: observed.grant.clone() });
    }
    match &observed.peers {
        PeerFacts::NotAsked if !desired.peers.is_empty() => Ok(vec![Step::AskPeers(desired.peers.clone())]),
        PeerFacts::Asked(Some((peer, theirs))) if *theirs > ours => {
            Err(Refusal::Superseded { ours, node: peer.to_string(), theirs: *theirs })
        }
        PeerFacts::NotAsked | PeerFacts::Asked(_) => Ok(start(observed, Step::StartPrimary(grant))),
    }
}

/// Whoever starts looks after his trash first.
fn start(observed: &Observed, step: Step) -> Vec<Step> {
    let expired = &observed.expired_trash;
    let expire = (!expired.is_empty()).then(|| Step::ExpireTrash(expired.clone()));
    expire.into_iter().chain([step]).collect()
}

fn plan_first_start(observed: &Observed) -> Result<Vec<Step>, Refusal> {
    if let Some(recorded) = observed.secrets.system_identifier() {
        return Err(Refusal::SecondPrimary(recorded));
    }
    let layout = &observed.layout;
    refuse_what_is_no_data_directory(&observed.brought, layout.brought(), layout.major)?;
    let make = match &observed.brought {
        DataDirectory::Initialized { control, standby: true } => return Err(Refusal::ReplicaAsPrimary(*control)),
        DataDirectory::Initialized { control, standby: false } => Step::Adopt(*control),
        _ => Step::Initialize,
    };
    let mut steps = discard(&observed.partial);
    match &observed.secrets {
        Secrets::Mounted { missing, .. } if !missing.is_empty() => steps.push(Step::GenerateSecrets),
        _ => {}
    }
    steps.push(make);
    Ok(steps)
}

fn plan_replica(upstream: &Upstream, desired: &NodeSpec, observed: &Observed) -> Result<Vec<Step>, Refusal> {
    let identity = observed.upstream.identity();
    if let Some(identity) = identity {
        refuse_strange_upstream(upstream, identity, observed)?;
    }
    let lacks_secrets = !observed.secrets.missing_for_a_replica().is_empty();
    if lacks_secrets && desired.authentication == Authentication::Scram {
        return Ok(vec![Step::WaitForSecrets]);
    }
    let data = Data::of(observed);
    let wait = || Ok(vec![Step::WaitForUpstream(upstream.clone())]);
    let staged = matches!(observed.staged, DataDirectory::Initialized { .. });
    match (data.directory, &observed.upstream) {
        // Nothing is cloned beside data but what is to take their place.
        (DataDirectory::Initialized { .. }, _) if data.in_place && staged => Ok(vec![Step::ThrowAwayData]),
        // What an earlier rewind said is about data that are gone.
        (DataDirectory::Initialized { .. }, _) if !data.in_place => {
            let forget = observed.failed_rewind.is_some().then_some(Step::ForgetRewind);
            Ok(forget.into_iter().chain([Step::PutInPlace]).collect())
        }
        // It is not asked again: its own WAL may go on past what it has flushed, and was copied as far as that.
        (DataDirectory::Initialized { standby: true, .. }, UpstreamFacts::Rewound(identity))
            if identity.slot != Slot::Lost =>
        {
            let start = start(observed, Step::StartReplica(upstream.clone()));
            Ok(missing_slot(upstream, *identity).into_iter().chain(start).collect())
        }
        (
            DataDirectory::Initialized { control, standby },
            UpstreamFacts::NotAsked | UpstreamFacts::Identified(_) | UpstreamFacts::Rewound(_),
        ) => Ok(vec![Step::AskUpstream { upstream: upstream.clone(), control: *control, standby: *standby }]),
        // Without an upstream it serves reads, and streams once there is one.
        (DataDirectory::Initialized { standby: true, .. }, UpstreamFacts::Unreachable(_))
            if observed.failed_rewind.is_none() =>
        {
            Ok(start(observed, Step::StartReplica(upstream.clone())))
        }
        (DataDirectory::Initialized { .. }, UpstreamFacts::Unreachable(_)) => wait(),
        (DataDirectory::Initialized { control, standby }, UpstreamFacts::Traced(identity, standing, lineage)) => {
            let rejoining = Rejoining { upstream, control, standby: *standby, identity: *identity, standing, lineage };
            rejoining.plan(desired, observed)
        }
        _ => {
            // Whoever has followed somebody may be told to clone anew long after those that it was born with have gone.
            let clone_from = desired.clone_from.clone().filter(|_| observed.followed.is_none());
            identity.map_or_else(wait, |identity| Ok(plan_clone(upstream, clone_from, identity, observed)))
        }
    }
}

/// A node with data that comes back to its upstream.
struct Rejoining<'a> {
    upstream: &'a Upstream,
    control: &'a ControlData,
    standby: bool,
    identity: Identity,
    standing: &'a Standing,
    lineage: &'a Lineage,
}

impl Rejoining<'_> {
    fn plan(&self, desired: &NodeSpec, observed: &Observed) -> Result<Vec<Step>, Refusal> {
        let upstream = || self.upstream.clone();
        let way = self.way(desired, observed)?;
        let mut steps = vec![Step::Rejoin(way.clone())];
        if !self.standby && !matches!(observed.grant, GrantFile::Revoked(_)) {
            steps.push(Step::RevokeGrant(upstream()));
        }
        match way {
            Rejoin::Stream { .. } => {
                steps.extend(missing_slot(self.upstream, self.identity));
                if !self.standby {
                    steps.push(Step::BecomeReplica);
                }
                steps.extend(start(observed, Step::StartReplica(upstream())));
            }
            Rejoin::Rewind { fork, .. } => {
                steps.push(Step::KeepDivergentWal { fork, segment_size: self.control.segment_size });
                if self.control.state != ClusterState::ShutDown {
                    steps.push(Step::Recover);
                }
                steps.push(Step::Rewind { upstream: upstream(), identity: self.identity });
            }
            Rejoin::Reclone(_) if observed.data_is_mount => {
                return Err(Refusal::DataDirectoryIsMount(observed.layout.data()));
            }
            // The old data are there until their successor is.
            Rejoin::Reclone(_) => steps.extend(plan_clone(self.upstream, None, self.identity, observed)),
        }
        Ok(steps)
    }

    fn way(&self, desired: &NodeSpec, observed: &Observed) -> Result<Rejoin, Refusal> {
        if let Some(failure) = &observed.failed_rewind {
            return Ok(Rejoin::Reclone(RecloneReason::RewindFailed(failure.clone())));
        }
        let way = Rejoin::choose(self.standing, self.upstream, &self.identity, self.lineage)?;
        match &observed.followed {
            Some(followed)
                if self.standby && followed != self.upstream && !desired.rewind_to_new_upstream && way.discards() =>
            {
                Err(Refusal::NotAncestor { followed: followed.clone(), upstream: self.upstream.clone(), way })
            }
            _ => Ok(way),
        }
    }
}

fn missing_slot(upstream: &Upstream, identity: Identity) -> Option<Step> {
    (identity.slot == Slot::Missing).then(|| Step::CreateSlot(upstream.clone()))
}

/// The slot comes first, so that the upstream keeps the WAL that the clone will want; never one of an earlier clone, which
/// may have kept too much or have lost some.
fn plan_clone(upstream: &Upstream, clone_from: Option<Upstream>, identity: Identity, observed: &Observed) -> Vec<Step> {
    let mut steps = discard(&observed.partial);
    if identity.slot != Slot::Missing {
        steps.push(Step::DropSlot(upstream.clone()));
    }
    steps.push(Step::CreateSlot(upstream.clone()));
    let system_identifier = identity.system_identifier;
    steps.push(Step::Clone { upstream: upstream.clone(), clone_from, system_identifier });
    steps
}

fn refuse_strange_upstream(upstream: &Upstream, identity: Identity, observed: &Observed) -> Result<(), Refusal> {
    let theirs = identity.system_identifier;
    let authority = format!("upstream \"{upstream}\"");
    Data::of(observed).expect_cluster(theirs, &authority)?;
    match observed.secrets.system_identifier() {
        Some(ours) if ours != theirs => {
            return Err(Refusal::OtherCluster { place: "the secrets volume", ours, authority, theirs });
        }
        _ => {}
    }
    if identity.major != observed.layout.major {
        let image = observed.layout.major;
        return Err(Refusal::UpstreamMajor { upstream: upstream.clone(), theirs: identity.major, image });
    }
    Ok(())
}

fn discard(partial: &Partial) -> Vec<Step> {
    match partial {
        Partial::Ours => vec![Step::DiscardPartial],
        Partial::Missing | Partial::Foreign(_) => vec![],
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
