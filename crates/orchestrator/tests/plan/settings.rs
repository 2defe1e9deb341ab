//! Settings: in which order nodes get them.

use pgherd_agent::ORDER_BOUND_SETTINGS;
use pgherd_orchestrator::{Changes, Primacy, Setting, Settings, Stage, plan_settings};
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

/// Nodes whose PostgreSQL has this in force of a setting, by their numbers.
fn having(mut observed: Inventory, name: &str, values: &[(u16, &str)]) -> Inventory {
    for (number, value) in values {
        let Reach::Answered(status) = &mut observed.nodes.get_mut(number).expect("a node").reach else {
            panic!("it answers")
        };
        let [name, setting, boot_val, unit] = [name, value, "100", ""].map(str::to_owned);
        let settings = status.settings.get_or_insert_default();
        settings.push(pgherd_probe::Setting { name, setting, boot_val, unit });
    }
    observed
}

/// Nodes that were asked to have a setting, by their numbers.
fn told(mut observed: Inventory, name: &str, value: &str, numbers: &[u16]) -> Inventory {
    for number in numbers {
        let spec = observed.nodes.get_mut(number).and_then(|node| node.spec.as_mut()).expect("a specification");
        spec.settings.insert(name.to_owned(), value.to_owned());
    }
    observed
}

fn planned(known: &[Setting], observed: &Inventory) -> String {
    planned_by(known, observed, &Primacy::AsFound)
}

fn by_switchover(known: &[Setting], observed: &Inventory) -> String {
    planned_by(known, observed, &Primacy::Switchover { to: None })
}

fn planned_by(known: &[Setting], observed: &Inventory, primacy: &Primacy) -> String {
    match plan_settings(&changes(known), known, observed, primacy) {
        Ok(stages) => stages.iter().map(rendered_stage).collect::<Vec<_>>().join("\n"),
        Err(error) => format!("refused: {error}"),
    }
}

fn rendered_stage(stage: &Stage) -> String {
    let nodes = stage.nodes.iter().map(|(number, settings)| format!("{number}: {settings:?}"));
    let nodes = nodes.collect::<Vec<_>>().join(" and ");
    let how = if stage.restarts { "a start" } else { "a reload" };
    let after = if stage.after_replay { " after replay" } else { "" };
    let successor = stage.successor.map(|number| format!(" once {number} has taken over")).unwrap_or_default();
    format!("{nodes} by {how}{after}{successor}")
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
fn a_lowering_that_was_cut_off_waits_for_replay_all_the_same() {
    // The primary is done, and no replica is: what it had before may still be on its way to them.
    let lowered = setting("max_connections", "postmaster", "60", "60");
    let observed = told(
        having(answering(), "max_connections", &[(1, "60"), (2, "120"), (3, "120")]),
        "max_connections",
        "60",
        &[1],
    );
    assert_snapshot!(planned(std::slice::from_ref(&lowered), &observed), @r#"
    2: {"max_connections": "60"} by a start after replay
    3: {"max_connections": "60"} by a start after replay
    "#);
    // One of them is done, too.
    let observed = told(
        having(answering(), "max_connections", &[(1, "60"), (2, "60"), (3, "120")]),
        "max_connections",
        "60",
        &[1, 2],
    );
    assert_snapshot!(planned(&[lowered], &observed), @r#"3: {"max_connections": "60"} by a start after replay"#);
}

#[test]
fn who_has_more_than_the_primary_shall_have_waits_for_replay() {
    let observed = having(answering(), "max_connections", &[(1, "100"), (2, "500"), (3, "100")]);
    assert_snapshot!(planned(&[raised()], &observed), @r#"
    2: {"max_connections": "300"} by a start after replay
    3: {"max_connections": "300"} by a start
    1: {"max_connections": "300"} by a start
    "#);
}

#[test]
fn another_node_takes_over_where_the_primary_needs_a_start() {
    assert_snapshot!(by_switchover(&[raised(), reloaded()], &answering()), @r#"
    2: {"max_connections": "300", "work_mem": "65536"} by a start
    3: {"max_connections": "300", "work_mem": "65536"} by a start
    1: {"max_connections": "300", "work_mem": "65536"} by a start once 2 has taken over
    "#);
    let to_three = planned_by(&[raised()], &answering(), &Primacy::Switchover { to: Some(3) });
    assert!(to_three.ends_with("by a start once 3 has taken over"), "{to_three}");
    // Where it needs none, nobody does.
    assert_eq!(by_switchover(&[reloaded()], &answering()), planned(&[reloaded()], &answering()));
    let done = told(answering(), "max_connections", "300", &[1, 2, 3]);
    assert_eq!(by_switchover(&[raised()], &done), "");
}

#[test]
fn a_change_by_a_switchover_that_was_cut_off_goes_on_from_where_it_was() {
    // All have it but the primary, which was told.
    let mut observed = told(
        having(answering(), "max_connections", &[(1, "100"), (2, "300"), (3, "300")]),
        "max_connections",
        "300",
        &[1, 2, 3],
    );
    let Reach::Answered(status) = &mut observed.nodes.get_mut(&1).expect("a node").reach else { panic!("it answers") };
    status.upkeep.pending_restart = Some(vec!["max_connections".to_owned()]);
    assert_snapshot!(by_switchover(&[raised()], &observed), @r#"1: {"max_connections": "300"} by a start once 2 has taken over"#);
    // And the planner lets it take over: the old primary gets as much at its start.
    let switchover = ClusterSpec { primacy: Primacy::Switchover { to: Some(2) }, ..desired(Replicas::AsFound) };
    assert!(rendered(&switchover, &observed).contains("shut demo-1 down, and promote demo-2"));
}

#[test]
fn nobody_takes_over_where_that_is_no_way() {
    // No replica can have less than its primary, and so none can be ahead of it.
    assert_snapshot!(by_switchover(&[raised(), lowered()], &answering()), @r#"
    refused: setting "max_wal_senders" cannot be lowered by a switchover, from 100 to 50: no replica can have less of it than its primary
    hint: Lower it without "--switchover", which starts the primary anew where it is.
    "#);
    assert_snapshot!(by_switchover(&[raised()], &crate::succession::streaming(0)), @r#"
    refused: no replica of cluster "demo" can become the primary: it has none
    hint: "cluster status demo" tells more.
    "#);
    let to_itself = planned_by(&[raised()], &answering(), &Primacy::Switchover { to: Some(1) });
    assert!(to_itself.starts_with("refused: \"demo-1\" cannot become the primary: it is a primary"), "{to_itself}");
    let mut late = answering();
    for number in [2, 3] {
        let Reach::Answered(status) = &mut late.nodes.get_mut(&number).expect("a node").reach else {
            panic!("it answers")
        };
        status.receiver = None;
    }
    let nobody = by_switchover(&[raised()], &late);
    assert!(
        nobody
            .starts_with("refused: no replica of cluster \"demo\" can become the primary: demo-2 has no wal receiver"),
        "{nobody}"
    );
}

#[test]
fn nobody_takes_over_behind_whom_others_would_stand_still() {
    let observed = having(answering(), "max_connections", &[(1, "100"), (2, "500"), (3, "100")]);
    let switchover = |to| ClusterSpec { primacy: Primacy::Switchover { to }, ..desired(Replicas::AsFound) };
    assert_snapshot!(rendered(&switchover(Some(2)), &observed), @r#"
    refused: "demo-2" cannot become the primary: it has max_connections 500, and "demo-1" 100: behind a primary with more it would stand still
    hint: "cluster set demo max_connections=500" gives all nodes the same.
    "#);
    assert!(rendered(&switchover(None), &observed).contains("promote demo-3"));
    // Once all have what is wanted, either can.
    assert!(by_switchover(&[raised()], &observed).ends_with("once 2 has taken over"));
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
        for stage in plan_settings(&changes(&known), &known, &observed, &Primacy::AsFound).expect("stages") {
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

    /// Whatever each node has, and wherever an earlier change was cut off: who gets less of something than it has waits for replay first,
    /// and no replica has less than its primary at any moment.
    #[test]
    fn less_comes_after_replay(
        wanted in 1..200_u32,
        of_primary in 1..200_u32,
        more_of_replicas in proptest::collection::vec(0..200_u32, 2),
        primacy in prop_oneof![Just(Primacy::AsFound), Just(Primacy::Switchover { to: None })],
    ) {
        let mut values: BTreeMap<u16, u32> =
            [(1, of_primary), (2, of_primary + more_of_replicas[0]), (3, of_primary + more_of_replicas[1])].into();
        let mut observed = answering();
        for (number, value) in &values {
            let value = value.to_string();
            observed = told(having(observed, "max_connections", &[(*number, &value)]), "max_connections", &value, &[*number]);
        }
        let known = [setting("max_connections", "postmaster", &of_primary.to_string(), &wanted.to_string())];
        let stages = match plan_settings(&changes(&known), &known, &observed, &primacy) {
            Ok(stages) => stages,
            Err(error) => {
                prop_assert!(primacy != Primacy::AsFound && wanted < of_primary, "{}", error);
                return Ok(());
            }
        };
        for stage in stages {
            let (number, settings) = stage.nodes.first_key_value().expect("a node");
            let value: u32 = settings["max_connections"].parse().expect("a number");
            prop_assert!(*number == 1 || (value < values[number]) == stage.after_replay, "{:?}", stage);
            prop_assert_eq!(stage.successor.is_some(), *number == 1 && primacy != Primacy::AsFound);
            values.insert(*number, value);
            // Whoever takes over has it already, and the former primary comes back with as much.
            prop_assert!(values.values().all(|value| *value >= values[&stage.successor.unwrap_or(1)]), "{:?}", values);
        }
        prop_assert!(values.values().all(|value| *value == wanted));
    }
}
