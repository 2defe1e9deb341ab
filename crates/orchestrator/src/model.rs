//! What will be there once steps are done: for what a plan says beyond them, and for the laws that every plan keeps.

use pgherd_agent::Role;
use pgherd_probe::{NodeLsn, Reach};

use crate::{ContainerState, Disk, Inventory, Limits, NodeInventory, Presence, Step, Storage};

/// What is there after `steps`, as far as planning looks at it: nodes that are started do not answer yet.
#[must_use]
pub fn after(steps: &[Step], observed: &Inventory) -> Inventory {
    let mut inventory = observed.clone();
    for step in steps {
        apply_to(&mut inventory, step);
    }
    inventory
}

fn apply_to(inventory: &mut Inventory, step: &Step) {
    match step {
        Step::CreateNetwork => inventory.network = Presence::Ours,
        Step::CreateSecretsVolume | Step::CreateSecretsVolumeIn(_) => {
            inventory.secrets = Presence::Ours;
            // Its labels say so.
            inventory.source.iter_mut().for_each(|source| source.is_recorded = true);
        }
        Step::AtSource(step) => inventory.source.iter_mut().for_each(|source| step.model(source)),
        // The label that says so is as old as the secrets volume.
        Step::BringData { origin, .. } => inventory.origin = Some(origin.clone()),
        Step::CreateDisk { node, size } => {
            let found = inventory.nodes.entry(node.number).or_insert_with(NodeInventory::nothing);
            found.disk = Some(Disk { size: *size, is_detached: true });
        }
        Step::CreateVolume(node) | Step::CreateVolumeOnDisk(node) => {
            inventory.nodes.entry(node.number).or_insert_with(NodeInventory::nothing).volume = true;
        }
        Step::CreateVolumeAs { node, storage } => {
            let found = inventory.nodes.entry(node.number).or_insert_with(NodeInventory::nothing);
            (found.volume, found.storage) = (true, storage.clone());
        }
        Step::DropSlot { node, upstream } => {
            let slot = pgherd_images::contract::slot_name(&node.to_string());
            if let Some(Reach::Answered(status)) = inventory.nodes.get_mut(&upstream.number).map(|node| &mut node.reach)
            {
                status.slots.retain(|found| found.slot_name != slot);
            }
        }
        Step::SwitchOver { from, to } => {
            if let Some(node) = inventory.nodes.get_mut(&from.number) {
                node.end(0);
            }
            if let Some(node) = inventory.nodes.get_mut(&to.number) {
                node.become_primary();
            }
        }
        Step::RemoveVolume(node) | Step::RemoveDisk(node) => {
            let Some(found) = inventory.nodes.get_mut(&node.number) else { return };
            match step {
                Step::RemoveVolume(_) => found.volume = false,
                _ => found.disk = None,
            }
            if !found.volume && found.disk.is_none() {
                inventory.nodes.remove(&node.number);
            }
        }
        step => {
            let node = step.node().and_then(|node| inventory.nodes.get_mut(&node.number));
            node.into_iter().for_each(|node| node.apply(step));
        }
    }
}

impl NodeInventory {
    fn nothing() -> NodeInventory {
        NodeInventory {
            container: None,
            volume: false,
            disk: None,
            storage: Storage::default(),
            limits: Limits::default(),
            major: None,
            published: None,
            spec: None,
            unreadable_spec: None,
            reach: Reach::Missing,
        }
    }

    /// A step that is about this node alone.
    fn apply(&mut self, step: &Step) {
        match step {
            Step::CreateContainer { born_as, port, limits, .. } => {
                self.container = Some(ContainerState::Created);
                self.limits = *limits;
                self.published = *port;
                self.spec = self.spec.take().or_else(|| born_as.clone());
            }
            Step::PlaceSpec(_, spec) | Step::Specify(_, spec) => {
                self.spec = Some(spec.clone());
                self.unreadable_spec = None;
            }
            Step::Start(_) => {
                self.container = Some(ContainerState::Running);
                self.reach = Reach::Starting { reason: "it was just started".to_owned() };
            }
            Step::Stop(_) => self.end(0),
            Step::Fence(_) => self.end(137),
            Step::Promote { .. } => self.become_primary(),
            Step::ResumeReplay(_) => {
                if let Reach::Answered(status) = &mut self.reach {
                    status.replay_paused = false;
                }
            }
            Step::Limit { limits, .. } => self.limits = *limits,
            Step::RemoveContainer(_) => {
                self.container = None;
                self.limits = Limits::default();
                self.reach = Reach::Missing;
            }
            Step::AttachDisk(_) | Step::DetachDisk(_) => {
                if let Some(disk) = &mut self.disk {
                    disk.is_detached = matches!(step, Step::DetachDisk(_));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, exit_code: i64) {
        self.container = Some(ContainerState::Exited { exit_code });
        self.reach = Reach::Stopped { reason: format!("its container exited with code {exit_code}") };
    }

    /// Its agent writes down what it is now.
    fn become_primary(&mut self) {
        if let Some(spec) = &mut self.spec {
            spec.role = Role::Primary;
        }
        if let Reach::Answered(status) = &mut self.reach {
            let end = status.lsn.end().unwrap_or_default();
            status.lsn = NodeLsn::Primary { write: end, flush: end };
            status.receiver = None;
        }
    }
}
