//! What the probe and the planner say of a cluster.

use std::{fmt::Write, time::Duration};

use pgherd_images::release::PostgresMajor;
use pgherd_orchestrator::{ClusterName, ClusterSpec, Engine, Inventory, Observer, Plan, Refusal, plan};
use pgherd_probe::{Policy, Report, assess};
use serde_json::Value;
use tokio::{runtime::Runtime, time::timeout};

/// A text, and the same as JSON.
pub(super) struct Found {
    pub(super) text: String,
    pub(super) status: String,
    pub(super) plan: String,
}

/// Looks at a cluster for as long as `limit`.
pub(super) fn look_at(name: &str, limit: Duration) -> Found {
    match observe(name, limit) {
        Ok(observed) => describe(&observed),
        Err(reason) => {
            let text = format!("could not be observed: {reason}\n");
            let json = Value::from(&*text).to_string();
            Found { text, status: json.clone(), plan: json }
        }
    }
}

fn observe(name: &str, limit: Duration) -> Result<Inventory, String> {
    let name: ClusterName = name.parse().map_err(|error| format!("{error}"))?;
    let look = async {
        let engine = Engine::connect().await?;
        Observer::new(&engine, &name).observe_for_making(0).await
    };
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let looked = runtime.block_on(async { timeout(limit, look).await });
    let looked = looked.map_err(|_| format!("no answer within {} s", limit.as_secs()))?;
    looked.map_err(|error| error.to_string())
}

fn describe(observed: &Inventory) -> Found {
    let report = assess(&Policy::default(), &observed.observed());
    let planned = plan(&as_it_was_asked_to_be(observed), observed);
    let plan = match &planned {
        Ok(plan) => serde_json::to_string_pretty(plan),
        Err(refusal) => serde_json::to_string_pretty(&refusal.to_string()),
    };
    Found {
        text: status_text(&report) + &plan_text(&planned),
        status: serde_json::to_string_pretty(&report).unwrap_or_default(),
        plan: plan.unwrap_or_default(),
    }
}

fn as_it_was_asked_to_be(observed: &Inventory) -> ClusterSpec {
    let found = observed.nodes.values().find_map(|node| node.major);
    let major = found.unwrap_or(PostgresMajor::DEFAULT.number());
    ClusterSpec::new(observed.name.clone(), major)
}

fn status_text(report: &Report) -> String {
    let mut text = format!("it is {}\n", report.health);
    for finding in &report.findings {
        let _ = writeln!(text, "{finding}");
    }
    for node in &report.nodes {
        let role = node.role.map_or_else(|| "of unknown role".to_owned(), |role| role.to_string());
        let _ = writeln!(text, "{}: {role}, {}", node.node, node.state);
        for finding in &node.findings {
            let _ = writeln!(text, "{}: {finding}", node.node);
        }
    }
    text
}

fn plan_text(planned: &Result<Plan, Refusal>) -> String {
    match planned {
        Err(refusal) => format!("plan: refused: {refusal}\n"),
        Ok(plan) if plan.steps.is_empty() && plan.waiting_on.is_empty() => "plan: nothing to do\n".to_owned(),
        Ok(plan) => {
            let steps = plan.steps.iter().map(|step| format!("plan: {step}\n"));
            let waits = plan.waiting_on.iter().map(|wait| format!("plan: wait for {}: {}\n", wait.node, wait.doing));
            steps.chain(waits).collect()
        }
    }
}
