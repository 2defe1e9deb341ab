//! One node: from whatever is there of it to a started container, and back to nothing. Pure.

use pgherd_agent::{NodeSpec, Role};

use crate::{ContainerState, Limits, NodeInventory, NodeName, Origin, Step, Storage, VolumeSize};

/// What a node is to be, and how it may get there.
pub(crate) struct Wanted {
    pub(crate) spec: NodeSpec,
    /// Whether it may lose what its new upstream has not.
    pub(crate) may_rewind: bool,
    /// Whether only a start can lead it there, where its agent looks at what it has.
    pub(crate) starts_anew: bool,
    /// What it begins with, if it was never started.
    pub(crate) origin: Option<Origin>,
}

impl Wanted {
    /// What a node is to be told that has been told this before, if that is anything new.
    fn differs_from(&self, known: &NodeSpec) -> Option<NodeSpec> {
        let Wanted { spec, may_rewind, .. } = self;
        let is_new = known.role != spec.role;
        let wanted = NodeSpec {
            role: spec.role.clone(),
            peers: spec.peers.clone(),
            quorum: spec.quorum,
            settings: spec.settings.clone(),
            source: spec.source.clone(),
            rewind_to_new_upstream: known.rewind_to_new_upstream || (*may_rewind && (is_new || self.starts_anew)),
            ..known.clone()
        };
        (wanted != *known).then_some(wanted)
    }
}

/// What a new node is given.
pub(crate) struct Birth {
    /// The size of its disk, where volumes have one.
    pub(crate) size: Option<VolumeSize>,
    pub(crate) storage: Storage,
    pub(crate) limits: Limits,
    /// The names of scripts that fill the database of a new cluster.
    pub(crate) scripts: Vec<String>,
}

/// From whatever is there of a node to a started container.
pub(crate) fn bring_up(
    node: &NodeName,
    found: Option<&NodeInventory>,
    wanted: &Wanted,
    birth: &Birth,
    ports: &mut impl Iterator<Item = u16>,
) -> Vec<Step> {
    let size = birth.size;
    let storage = found.filter(|found| found.volume).map_or(&birth.storage, |found| &found.storage);
    let in_memory = *storage == Storage::Memory;
    let limits = birth.limits;
    let mut create =
        |born_as| Step::CreateContainer { node: node.clone(), born_as, port: ports.next(), limits, in_memory };
    // Its agent runs them only if it makes a new data directory.
    let is_primary = wanted.spec.role == Role::Primary && !birth.scripts.is_empty();
    let scripts = is_primary.then(|| Step::PlaceScripts { node: node.clone(), names: birth.scripts.clone() });
    let start = || Step::Start(node.clone());
    let stop = || Step::Stop(node.clone());
    let has_disk = found.map_or(size.is_some(), |found| found.disk.is_some());
    // The engine mounts a volume as soon as it makes a container for it, or looks into one.
    let attach = has_disk.then(|| Step::AttachDisk(node.clone()));
    let volume = || match storage {
        _ if has_disk => Step::CreateVolumeOnDisk(node.clone()),
        Storage::Volumes => Step::CreateVolume(node.clone()),
        storage => Step::CreateVolumeAs { node: node.clone(), storage: storage.clone() },
    };
    let known = found.and_then(|found| found.spec.as_ref());
    let news = known.and_then(|known| wanted.differs_from(known));
    let bring = wanted.origin.clone().map(|origin| Step::BringData { node: node.clone(), origin });
    let place = || news.clone().map(|spec| Step::PlaceSpec(node.clone(), spec));
    let Some(found) = found else {
        let disk = size.map(|size| Step::CreateDisk { node: node.clone(), size });
        let make = [create(Some(wanted.spec.clone()))].into_iter().chain(scripts).chain([start()]);
        return disk.into_iter().chain(attach).chain([volume()]).chain(bring).chain(make).collect();
    };
    match found.container {
        // What the volume holds is asked to be something already, or not: that shows once it has a container.
        None => attach.into_iter().chain((!found.volume).then(volume)).chain([create(None)]).collect(),
        Some(ContainerState::Created) if found.spec.is_none() => {
            let place = Step::PlaceSpec(node.clone(), wanted.spec.clone());
            attach.into_iter().chain(bring).chain([place]).chain(scripts).chain([start()]).collect()
        }
        Some(ContainerState::Created | ContainerState::Exited { .. }) => {
            attach.into_iter().chain(place()).chain(scripts).chain([start()]).collect()
        }
        Some(ContainerState::Running) if !wanted.starts_anew && !found.steps_down(&wanted.spec.role) => {
            news.map(|spec| Step::Specify(node.clone(), spec)).into_iter().collect()
        }
        Some(ContainerState::Restarting { .. }) if news.is_none() => Vec::new(),
        Some(ContainerState::Running | ContainerState::Restarting { .. }) => {
            [stop()].into_iter().chain(place()).chain([start()]).collect()
        }
        // Whoever froze it has to let it go on.
        Some(ContainerState::Paused) => Vec::new(),
    }
}

impl NodeInventory {
    /// Whether it was asked to be the primary, and is to become a replica: which it can at a start alone.
    fn steps_down(&self, role: &Role) -> bool {
        self.is_asked_to_be_primary() && *role != Role::Primary && !self.is_replica()
    }
}

/// Only what was seen to be ours goes. The slot goes in any case: without its node nobody else would. The disk goes last:
/// whatever is cut off before, it says that the node is not gone yet.
pub(crate) fn take_down(node: &NodeName, found: &NodeInventory, slot: Step) -> Vec<Step> {
    let container = found.container.is_some().then(|| Step::RemoveContainer(node.clone()));
    let detach = found.disk.is_some().then(|| Step::DetachDisk(node.clone()));
    let volume = found.volume.then(|| Step::RemoveVolume(node.clone()));
    let disk = found.disk.is_some().then(|| Step::RemoveDisk(node.clone()));
    container.into_iter().chain([slot]).chain(detach).chain(volume).chain(disk).collect()
}
