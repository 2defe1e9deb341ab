//! What is to be done at a server that is not ours, and why it cannot be followed. Pure.

use std::collections::BTreeMap;

use pgherd_agent::ORDER_BOUND_SETTINGS;
use pgherd_images::contract;

use super::{SOURCE, SourceFacts, SourceInventory, SourceRefusal, SourceStep};
use crate::{ClusterSpec, Inventory, Presence, Primacy, Refusal, Settings, Step};

/// The server is the primary, and stays it.
///
/// # Errors
/// [`SourceRefusal::NotOurs`] where another one is to be, or commits are to wait; [`SourceRefusal::HasPrimary`] where there are nodes that
/// do not follow it.
pub(crate) fn turn(desired: &ClusterSpec, observed: &Inventory) -> Result<u16, Refusal> {
    let is_recorded = observed.source.as_ref().is_some_and(|found| found.is_recorded);
    if !is_recorded && (observed.secrets == Presence::Ours || !observed.nodes.is_empty()) {
        return Err(SourceRefusal::HasPrimary(desired.name.clone()).into());
    }
    let action = match desired.primacy {
        Primacy::AsFound if desired.quorum.is_none_or(|quorum| quorum == 0) => return Ok(SOURCE),
        Primacy::AsFound => "have commits wait for replicas",
        Primacy::Switchover { .. } => "switch over",
        Primacy::Failover { .. } => "fail over",
    };
    observed.refuse_followers(action).map(|()| SOURCE)
}

/// What is to be done before nodes are made of which those with the numbers `new` follow the server itself.
///
/// # Errors
/// A [`SourceRefusal`] where it cannot be followed, or by as many.
pub(crate) fn introduction(desired: &ClusterSpec, observed: &Inventory, new: &[u16]) -> Result<Vec<Step>, Refusal> {
    let Some(SourceInventory { source, is_recorded, facts: Some(facts), .. }) = &observed.source else {
        return Ok(Vec::new());
    };
    refuse(desired, facts, u16::try_from(new.len()).unwrap_or(u16::MAX))?;
    if facts.has_role && !is_recorded {
        return Err(SourceRefusal::RoleTaken { role: source.role.clone() }.into());
    }
    // A clone begins with a slot of its own, and drops whatever has that name.
    let mut slots = new.iter().map(|number| contract::slot_name(&observed.node_name(*number).to_string()));
    if let Some(slot) = slots.find(|slot| !is_recorded && facts.slot_names.contains(slot)) {
        return Err(SourceRefusal::SlotTaken { slot }.into());
    }
    let at = || source.to_string();
    let mut steps = Vec::new();
    if !facts.has_role {
        steps.push(SourceStep::MakeRole { role: source.role.clone(), at: at() });
    }
    if !facts.has_line {
        let (line, file) = (facts.line(&source.role), facts.hba_file.clone());
        steps.push(SourceStep::LetIn { line, file, at: at() });
    }
    if !steps.is_empty() || observed.nodes.is_empty() {
        steps.push(SourceStep::Knock { at: at() });
    }
    Ok(steps.into_iter().map(Step::from).collect())
}

fn refuse(desired: &ClusterSpec, facts: &SourceFacts, replicas: u16) -> Result<(), SourceRefusal> {
    if facts.major != desired.major {
        return Err(SourceRefusal::OtherMajor { wanted: desired.major, found: facts.major });
    }
    if facts.wal_level == "minimal" {
        return Err(SourceRefusal::WalLevel(facts.wal_level.clone()));
    }
    let is_loopback = |address: &str| ["localhost", "127.0.0.1", "::1", ""].contains(&address.trim());
    if facts.listen_addresses.split(',').all(is_loopback) {
        return Err(SourceRefusal::Loopback(facts.listen_addresses.clone()));
    }
    if !facts.has_superuser {
        return Err(SourceRefusal::NoSuperuser);
    }
    if let Some(error) = &facts.hba_error {
        return Err(SourceRefusal::BrokenHba(error.clone()));
    }
    if !facts.missing_locales.is_empty() {
        let locales = facts.missing_locales.join(", ");
        return Err(SourceRefusal::Locales { locales, image: desired.image.clone() });
    }
    // A clone takes two walsenders: one for the files, one for the WAL meanwhile.
    for (setting, (max, used), needed) in [
        ("max_wal_senders", facts.wal_senders, replicas.saturating_mul(2)),
        ("max_replication_slots", facts.slots, replicas),
    ] {
        if needed > max.saturating_sub(used) {
            return Err(SourceRefusal::Full { setting, max, used, needed, replicas });
        }
    }
    Ok(())
}

/// The settings of a node, with what the server has more of than every node: a replica that has less does not go on replaying.
///
/// <https://www.postgresql.org/docs/17/hot-standby.html#HOT-STANDBY-ADMIN>
pub(crate) fn settings(observed: &Inventory, mut settings: Settings) -> Settings {
    let facts = observed.source.as_ref().and_then(|found| found.facts.as_ref());
    let empty = BTreeMap::new();
    let bound = facts.map_or(&empty, |facts| &facts.order_bound);
    for (name, usual) in ORDER_BOUND_SETTINGS {
        let has = settings.get(name).and_then(|value| value.parse().ok()).unwrap_or(usual);
        if let Some(needed) = bound.get(name).filter(|needed| **needed > has) {
            settings.insert(name.to_owned(), needed.to_string());
        }
    }
    settings
}
