//! Judges the slots of one node: each keeps write-ahead log, for somebody or for nobody.

use std::collections::BTreeSet;

use crate::{Finding, NodeStatus, Observed, Reach, Slot, upkeep};

/// The slots of all nodes, on whichever upstream.
///
/// A node that does not answer has the slot that is named after it: it may be one that is being cloned.
pub(crate) fn in_use(observed: &[Observed]) -> BTreeSet<String> {
    let slots = |node: &Observed| match &node.reach {
        Reach::Answered(status) => {
            let held = status.receiver.as_ref().and_then(|receiver| receiver.slot_name.clone());
            [held, status.primary_slot_name.clone()]
        }
        _ => [Some(named_after(&node.node)), None],
    };
    observed.iter().flat_map(slots).flatten().collect()
}

/// PostgreSQL takes lower-case letters, digits and underscores.
fn named_after(node: &str) -> String {
    let legal = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_lowercase() } else { '_' };
    node.chars().map(legal).collect()
}

pub(crate) fn assess(status: &NodeStatus, in_use: &BTreeSet<String>) -> impl Iterator<Item = Finding> {
    let free_bytes = upkeep::known_disk(status).map(|disk| disk.free_bytes);
    let of_slot = move |slot| [orphaned(slot, in_use), invalid(slot), filling(slot, free_bytes)];
    status.slots.iter().flat_map(of_slot).flatten()
}

/// What keeps write-ahead log for nobody. A slot in use, like that of a base backup that runs, is never among them.
fn orphaned(slot: &Slot, in_use: &BTreeSet<String>) -> Option<Finding> {
    let is_orphan = slot.slot_type == "physical" && !slot.active && !in_use.contains(&slot.slot_name);
    is_orphan.then(|| Finding::SlotOrphaned {
        slot: slot.slot_name.clone(),
        retained_bytes: slot.retained_bytes,
        wal_status: slot.wal_status.clone(),
        inactive_ms: slot.inactive_ms,
    })
}

/// A physical one that is lost is somebody's, or an orphan.
fn invalid(slot: &Slot) -> Option<Finding> {
    let is_invalid = slot.slot_type == "logical" && slot.wal_status.as_deref() == Some("lost");
    is_invalid.then(|| Finding::LogicalSlotLost { slot: slot.slot_name.clone() })
}

/// It has more than half of what it can have before it is lost, or the disk is full. Of one that can be lost at any
/// time, that is said already.
fn filling(slot: &Slot, free_bytes: Option<u64>) -> Option<Finding> {
    if slot.slot_type == "physical" && slot.wal_status.as_deref() == Some("unreserved") {
        return None;
    }
    let (retained_bytes, slot_name) = (slot.retained_bytes?, slot.slot_name.clone());
    let safe_bytes = slot.safe_wal_bytes.map(|safe_bytes| u64::try_from(safe_bytes).unwrap_or(0));
    let room_bytes = safe_bytes.into_iter().chain(free_bytes).min()?;
    (retained_bytes > room_bytes).then_some(Finding::SlotFilling { slot: slot_name, retained_bytes, room_bytes })
}
