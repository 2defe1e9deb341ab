//! Settings: in which order nodes get them.

use pgherd_agent::ORDER_BOUND_SETTINGS;
use pgherd_orchestrator::{Changes, Setting, Settings, Stage, plan_settings};
use proptest::prelude::*;

use super::*;

fn setting(name: &str, context: &str, setting: &str, wanted: &str) -> Setting {
    let [name, context, setting, wanted] = [name, context, setting, wanted].map(str::to_owned);
    Setting { name, context, setting, wanted: Some(wanted) }
}

fn raised() -> Setting {
    setting("max_connections", "postmaster", "100", "300")
}

fn lowered() -> Setting {
    setting("max_wal_senders", "postmaster", "100", "50")
}

fn reloaded() -> Setting {
    setting("work_mem", "user", "4096", "65536")
}

/// Three nodes that answer.
fn answering() -> Inventory {
    crate::succession::streaming(2)
}

fn changes(known: &[Setting]) -> Changes {
    known.iter().map(|setting| (setting.name.clone(), setting.wanted.clone())).collect()
}

fn planned(known: &[Setting], observed: &Inventory) -> String {
    match plan_settings(&changes(known), known, observed) {
        Ok(stages) => stages.iter().map(rendered_stage).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("refused: {error}"),
    }
}

fn rendered_stage(stage: &Stage) -> String {
    let nodes = stage.nodes.iter().map(|(number, settings)| format!("{number}: {settings:?}"));
    let nodes = nodes.collect::<Vec<_>>().join(" and ");
    let how = if stage.restarts { "a start" } else { "a reload" };
    format!("{nodes} by {how}{}", if stage.after_replay { " after replay" } else { "" })
}

#[test]
fn what_is_raised_is_raised_on_replicas_first() {
    assert_snapshot!(planned(&[raised()], &answering()), @r#"
    2: {"max_connections": "300"} by a start
    3: {"max_connections": "300"} by a start
    1: {"max_connections": "300"} by a start
    "#);
}

#[test]
fn what_is_lowered_is_lowered_on_the_primary_first() {
    assert_snapshot!(planned(&[lowered()], &answering()), @r#"
    1: {"max_wal_senders": "50"} by a start
    2: {"max_wal_senders": "50"} by a start after replay
    3: {"max_wal_senders": "50"} by a start after replay
    "#);
}

#[test]
fn both_at_once_cost_a_replica_two_starts() {
    assert_snapshot!(planned(&[raised(), lowered(), reloaded()], &answering()), @r#"
    2: {"max_connections": "300", "work_mem": "65536"} by a start
    3: {"max_connections": "300", "work_mem": "65536"} by a start
    1: {"max_connections": "300", "max_wal_senders": "50", "work_mem": "65536"} by a start
    2: {"max_connections": "300", "max_wal_senders": "50", "work_mem": "65536"} by a start after replay
    3: {"max_connections": "300", "max_wal_senders": "50", "work_mem": "65536"} by a start after replay
    "#);
}

#[test]
fn what_needs_no_start_is_taken_up_by_all_at_once() {
    assert_snapshot!(planned(&[reloaded()], &answering()), @r#"1: {"work_mem": "65536"} and 2: {"work_mem": "65536"} and 3: {"work_mem": "65536"} by a reload"#);
}

#[test]
fn a_change_that_was_cut_off_goes_on_from_where_it_was() {
    let mut observed = answering();
    let set = |node: &mut NodeInventory| {
        let spec = node.spec.as_mut().expect("a specification");
        spec.settings.insert("max_connections".to_owned(), "300".to_owned());
    };
    set(observed.nodes.get_mut(&2).expect("a node"));
    assert_snapshot!(planned(&[raised()], &observed), @r#"
    3: {"max_connections": "300"} by a start
    1: {"max_connections": "300"} by a start
    "#);
    // It was told, and not started.
    let Reach::Answered(status) = &mut observed.nodes.get_mut(&2).expect("a node").reach else { panic!("it answers") };
    status.upkeep.pending_restart = Some(vec!["max_connections".to_owned()]);
    assert_snapshot!(planned(&[raised()], &observed), @r#"
    2: {"max_connections": "300"} by a start
    3: {"max_connections": "300"} by a start
    1: {"max_connections": "300"} by a start
    "#);
    for node in observed.nodes.values_mut() {
        set(node);
        let Reach::Answered(status) = &mut node.reach else { panic!("it answers") };
        status.upkeep.pending_restart = Some(Vec::new());
    }
    assert_eq!(planned(&[raised()], &observed), "");
}

#[test]
fn what_cannot_be_is_refused() {
    assert_snapshot!(planned(&[setting("port", "postmaster", "5432", "5433")], &answering()), @r#"
    refused: setting "port" is not to be changed: by it a node is what it is asked to be, or found where it is looked for
    hint: The verbs of the cluster change what it stands for: "up", "repoint", "switchover".
    "#);
    assert_snapshot!(planned(&[setting("block_size", "internal", "8192", "4096")], &answering()), @r#"refused: setting "block_size" cannot be changed: it is what the server was built or initialized with"#);
    let mut observed = answering();
    observed.nodes.get_mut(&3).expect("a node").reach = Reach::Stopped { reason: "its container exited".to_owned() };
    assert_snapshot!(planned(&[reloaded()], &observed), @r#"
    refused: cannot change settings while "demo-3" is stopped: its container exited
    hint: "cluster up" brings it up; or remove it.
    "#);
}

#[test]
fn a_new_node_has_the_settings_of_the_primary() {
    let mut observed = complete(1);
    let primary = observed.nodes.get_mut(&1).and_then(|node| node.spec.as_mut()).expect("a specification");
    primary.settings.insert("work_mem".to_owned(), "64MB".to_owned());
    let plan = plan(&desired(Replicas::AtLeast(2)), &observed).expect("a plan");
    let born = plan.steps.iter().find_map(|step| match step {
        pgherd_orchestrator::Step::CreateContainer { born_as: Some(spec), .. } => Some(spec),
        _ => None,
    });
    assert_eq!(born.expect("a new node").settings["work_mem"], "64MB");
}

proptest! {
    /// Whatever is raised and lowered at once: no replica has less than its primary at any moment.
    #[test]
    fn no_replica_has_less_than_its_primary(wanted in proptest::collection::btree_map(0..ORDER_BOUND_SETTINGS.len(), 0..200_u32, 1..5)) {
        let known: Vec<Setting> = wanted
            .iter()
            .map(|(which, value)| {
                let (name, usual) = ORDER_BOUND_SETTINGS[*which];
                setting(name, "postmaster", &usual.to_string(), &value.to_string())
            })
            .collect();
        let observed = answering();
        let mut running: BTreeMap<u16, Settings> = observed.nodes.keys().map(|number| (*number, Settings::new())).collect();
        let value = |settings: &Settings, (name, usual): (&str, u32)| {
            settings.get(name).map_or(usual, |value| value.parse().expect("a number"))
        };
        for stage in plan_settings(&changes(&known), &known, &observed).expect("stages") {
            prop_assert!(stage.restarts && stage.nodes.len() == 1, "one node at a time: {:?}", stage);
            running.extend(stage.nodes);
            for bound in ORDER_BOUND_SETTINGS {
                for replica in [2, 3] {
                    prop_assert!(value(&running[&replica], bound) >= value(&running[&1], bound), "{}", bound.0);
                }
            }
        }
        for setting in &known {
            prop_assert!(running.values().all(|settings| settings.get(&setting.name) == setting.wanted.as_ref() || setting.wanted.as_deref() == Some(&setting.setting)));
        }
    }
}
