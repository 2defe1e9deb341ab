//! Who is the primary, and how another one takes over. Pure: every way to lose something is seen here, before anything is done.

use pgherd_agent::{NodeSpec, Role};
use pgherd_probe::{Finding, Lsn, NodeReport, NodeState, NodeStatus, ORDER_BOUND, Reach, Report, TimelineId};

use crate::{
    ClusterSpec, ContainerState, Guarantee, Inventory, NodeInventory, NodeName, Plan, Primacy, Refusal, Step,
    WaitingOn, plan::address, source,
};

/// A replica that has so much to replay is waited for before the primary is shut down: one segment of WAL.
const CLOSE_ENOUGH_BYTES: u64 = 16 << 20;

/// Whose turn it is.
pub(crate) enum Turn {
    /// This one is the primary, or will be the first.
    Settled(u16),
    /// Something else comes first.
    First(Plan),
    /// This one takes over by the last of these steps.
    Handover {
        /// What is done.
        steps: Vec<Step>,
        /// The primary from then on.
        to: u16,
    },
}

/// Decides whose turn it is.
///
/// # Errors
/// A [`Refusal`] where there is no primary, or nobody may take over.
pub(crate) fn turn(desired: &ClusterSpec, observed: &Inventory, report: &Report) -> Result<Turn, Refusal> {
    if observed.source.is_some() {
        return source::turn(desired, observed).map(Turn::Settled);
    }
    match &desired.primacy {
        Primacy::AsFound => primary_number(observed).map(Turn::Settled),
        Primacy::Switchover { to } => switch_over(*to, observed, report),
        Primacy::Failover { to, allow_data_loss, force } => fail_over(*to, *allow_data_loss, *force, observed),
    }
}

/// The node that is the primary, or that shall become it: the first one, if nobody was ever asked to be anything.
fn primary_number(observed: &Inventory) -> Result<u16, Refusal> {
    if let Some(number) = observed.primary() {
        return Ok(number);
    }
    // What a volume without a container holds can be read once it has one, and it may be the primary. Where nobody was
    // ever asked to be anything, the first node becomes it.
    let nobody_was_asked = observed.nodes.values().all(|node| node.spec.is_none());
    let candidate = |node: &NodeInventory| node.container.is_none() || (nobody_was_asked && node.spec.is_none());
    match observed.nodes.iter().find(|(_, node)| candidate(node)) {
        Some((number, _)) => Ok(*number),
        None if observed.nodes.is_empty() => Ok(1),
        None => Err(Refusal::NoPrimary(observed.name.clone())),
    }
}

fn switch_over(to: Option<u16>, observed: &Inventory, report: &Report) -> Result<Turn, Refusal> {
    let primary = primary_number(observed)?;
    let name = |number| observed.node_name(number);
    if to == Some(primary) {
        return Ok(Turn::Settled(primary));
    }
    let found = observed.nodes.get(&primary);
    if !found.is_some_and(NodeInventory::is_primary) {
        // An earlier switchover may have got no further than this. The candidate's agent looks whether it has everything.
        let is_shut_down = found.is_some_and(|node| node.container == Some(ContainerState::Exited { exit_code: 0 }));
        let candidate = to.filter(|to| is_shut_down && observed.nodes.get(to).is_some_and(NodeInventory::is_replica));
        return match candidate {
            Some(to) => Ok(Turn::Handover {
                steps: vec![Step::Promote { node: name(to), guarantee: Guarantee::CleanShutdown }],
                to,
            }),
            None => Err(Refusal::PrimaryDoesNotAnswer {
                primary: name(primary),
                doing: found.map_or_else(|| "is not there".to_owned(), |node| what_it_does(&node.reach)),
            }),
        };
    }
    let to = candidate(to, primary, observed, report)?;
    let candidate = &observed.nodes[&to];
    let first = |step| Ok(Turn::First(Plan { steps: vec![step], waiting_on: Vec::new() }));
    if let Some(spec) = candidate.spec.as_ref().filter(|_| candidate.asked_upstream(observed) != Some(primary)) {
        // Only who streams from the primary itself knows that nothing more can come.
        let role = Role::Replica { upstream: address(&name(primary)) };
        return first(Step::Specify(name(to), NodeSpec { role, ..spec.clone() }));
    }
    if candidate.status().is_some_and(|status| status.replay_paused) {
        return first(Step::ResumeReplay(name(to)));
    }
    let row = report.nodes.iter().find(|row| row.node == name(to).to_string());
    let lag = row.and_then(|row| row.replay_lag_bytes);
    if row.is_some_and(|row| row.state != NodeState::Streaming) || lag.is_none_or(|lag| lag > CLOSE_ENOUGH_BYTES) {
        let doing = match lag {
            Some(lag) => format!("it is {lag} bytes behind, and takes over at less than {CLOSE_ENOUGH_BYTES}"),
            None => "it is not known how far it is behind".to_owned(),
        };
        let waiting_on = vec![WaitingOn { node: name(to).to_string(), doing }];
        return Ok(Turn::First(Plan { steps: Vec::new(), waiting_on }));
    }
    let steps = vec![Step::Checkpoint(name(primary)), Step::SwitchOver { from: name(primary), to: name(to) }];
    Ok(Turn::Handover { steps, to })
}

/// Who takes over from a primary that runs: whoever is named, else the best replica.
///
/// # Errors
/// A [`Refusal`] where that one cannot, or nobody can.
pub(crate) fn candidate(to: Option<u16>, primary: u16, observed: &Inventory, report: &Report) -> Result<u16, Refusal> {
    match to {
        Some(to) => fit(to, observed, report).map(|()| to).map_err(|unfit| unfit.refusal(observed.node_name(to))),
        None => best_replica(primary, observed, report),
    }
}

/// Why a node cannot take over from a primary that runs.
struct Unfit {
    reason: String,
    hint: String,
}

impl Unfit {
    fn refusal(self, node: NodeName) -> Refusal {
        Refusal::UnfitCandidate { node, reason: self.reason, hint: self.hint }
    }
}

fn fit(number: u16, observed: &Inventory, report: &Report) -> Result<(), Unfit> {
    let name = observed.node_name(number);
    let see = || format!("\"cluster status {}\" tells more.", observed.name);
    let unfit = |reason: String, hint: String| Err(Unfit { reason, hint });
    let Some(found) = observed.nodes.get(&number) else {
        return unfit("is not there".to_owned(), see());
    };
    if !found.is_replica() {
        return unfit(what_it_does(&found.reach), see());
    }
    let row = report.nodes.iter().find(|row| row.node == name.to_string());
    // Replay that is paused can be resumed.
    let is_paused = found.status().is_some_and(|status| status.replay_paused && status.receiver.is_some());
    if let Some(row) = row
        && !is_paused
        && !matches!(row.state, NodeState::Streaming | NodeState::CatchingUp)
    {
        return unfit(findings(row), see());
    }
    if let Some((setting, has, other, less)) = too_much(number, found, observed) {
        return unfit(
            format!("has {setting} {has}, and \"{other}\" {less}: behind a primary with more it would stand still"),
            format!("\"cluster set {} {setting}={has}\" gives all nodes the same.", observed.name),
        );
    }
    let delayed = |finding: &&Finding| matches!(finding, Finding::ReplayDelayed { .. });
    match row.and_then(|row| row.findings.iter().chain(&row.notes).find(delayed)) {
        Some(finding) => unfit(finding.to_string(), format!("\"cluster lag set {name} 0s\" ends that.")),
        None => Ok(()),
    }
}

/// A setting of which a node has more than another one, which could not replay what it writes as the primary. Whoever is the primary now
/// is started anew, with what waits for that.
fn too_much(number: u16, found: &NodeInventory, observed: &Inventory) -> Option<(&'static str, i64, NodeName, i64)> {
    let others = || observed.nodes.iter().filter(move |(other, _)| **other != number);
    ORDER_BOUND.into_iter().find_map(|setting| {
        let has = found.in_force(setting)?;
        others().find_map(|(other, node)| {
            let less = node.in_force(setting).filter(|less| *less < has)?;
            let gets_more = node.is_primary() && node.waits_for_a_start(setting);
            (!gets_more).then(|| (setting, has, observed.node_name(*other), less))
        })
    })
}

fn findings(row: &NodeReport) -> String {
    let all: Vec<String> = row.findings.iter().map(ToString::to_string).collect();
    if all.is_empty() { format!("is {}", row.state) } else { all.join("; ") }
}

/// The fit one with the most WAL; of those that are equal, one that streams from the primary itself, and then the first.
fn best_replica(primary: u16, observed: &Inventory, report: &Report) -> Result<u16, Refusal> {
    let mut reasons = Vec::new();
    let mut fit_ones = Vec::new();
    for (number, node) in observed.nodes.iter().filter(|(number, _)| **number != primary) {
        match fit(*number, observed, report) {
            Ok(()) => fit_ones.push((node.asked_upstream(observed) == Some(primary), received(node), *number)),
            Err(unfit) => reasons.push(format!("{} {}", observed.node_name(*number), unfit.reason)),
        }
    }
    let best = fit_ones.into_iter().max_by_key(|(direct, received, number)| (*direct, *received, u16::MAX - number));
    best.map(|(_, _, number)| number).ok_or_else(|| no_candidate(observed, &reasons))
}

fn no_candidate(observed: &Inventory, reasons: &[String]) -> Refusal {
    let reasons = if reasons.is_empty() { "it has none".to_owned() } else { reasons.join("; ") };
    Refusal::NoCandidate { cluster: observed.name.clone(), reasons }
}

fn fail_over(to: Option<u16>, allow_data_loss: bool, force: bool, observed: &Inventory) -> Result<Turn, Refusal> {
    let name = |number| observed.node_name(number);
    let primary = observed.primary();
    if primary.is_some() && to == primary {
        let reason = "is the primary".to_owned();
        let hint = format!("\"cluster start {}\" brings it back.", name(to.unwrap_or_default()));
        return Err(Refusal::UnfitCandidate { node: name(to.unwrap_or_default()), reason, hint });
    }
    let found = primary.and_then(|number| Some((number, observed.nodes.get(&number)?)));
    if let Some((number, node)) = found
        && node.is_primary()
        && !force
    {
        return Err(Refusal::PrimaryAnswers { primary: name(number) });
    }
    let (candidate, guarantee) = successor(to, allow_data_loss, primary, observed)?;
    match found {
        // Whoever takes over is chosen when nothing more can come from the old one.
        Some((number, node)) if node.runs() => {
            Ok(Turn::First(Plan { steps: vec![Step::Fence(name(number))], waiting_on: Vec::new() }))
        }
        _ => Ok(Turn::Handover { steps: vec![Step::Promote { node: name(candidate), guarantee }], to: candidate }),
    }
}

/// The replica with the most WAL of the newest timeline, and why it has all that was acknowledged.
fn successor(
    to: Option<u16>,
    allow_data_loss: bool,
    primary: Option<u16>,
    observed: &Inventory,
) -> Result<(u16, Guarantee), Refusal> {
    let name = |number| observed.node_name(number);
    let others = || observed.nodes.iter().filter(|(number, _)| Some(**number) != primary);
    let answering: Vec<(u16, &NodeInventory)> =
        others().filter(|(_, node)| node.is_replica()).map(|(number, node)| (*number, node)).collect();
    let reasons = || -> Vec<String> {
        others().map(|(number, node)| format!("{} {}", name(*number), what_it_does(&node.reach))).collect()
    };
    let best = answering.iter().max_by_key(|(number, node)| (received(node), u16::MAX - number));
    let Some((best, most)) = best.map(|(number, node)| (*number, received(node))) else {
        return Err(no_candidate(observed, &reasons()));
    };
    let candidate = match to {
        None => best,
        Some(to) => {
            let named = observed.nodes.get(&to).ok_or_else(|| Refusal::NoSuchNode(name(to)))?;
            if !named.is_replica() {
                let hint = format!("Let \"{}\" take over, or bring it up first.", name(best));
                let reason = what_it_does(&named.reach);
                return Err(Refusal::UnfitCandidate { node: name(to), reason, hint });
            }
            let has = received(named);
            if has < most && !allow_data_loss {
                let bytes = most.1.unwrap_or_default().0.saturating_sub(has.1.unwrap_or_default().0);
                return Err(Refusal::Behind { candidate: name(to), best: name(best), bytes });
            }
            to
        }
    };
    let numbers: Vec<u16> = answering.iter().map(|(number, _)| *number).collect();
    match quorum_guarantee(primary, candidate, &numbers, observed) {
        Ok(guarantee) if received(&observed.nodes[&candidate]) == most => Ok((candidate, guarantee)),
        Ok(_) => Ok((candidate, Guarantee::None)),
        Err(_) if allow_data_loss => Ok((candidate, Guarantee::None)),
        Err(why) => Err(Refusal::MayLoseData { candidate: name(candidate), why }),
    }
}

/// Whether enough of those answer who had to confirm a commit: of `n` that are named any `k` did, so that of any `n - k + 1` one has
/// it, and the one with the most has all. All other nodes are named, whomever they follow: one that follows a replica confirms nothing, so
/// that of the others `k` did, and those are among the `n` all the same. It may have followed the primary when a commit was made.
fn quorum_guarantee(
    primary: Option<u16>,
    candidate: u16,
    answering: &[u16],
    observed: &Inventory,
) -> Result<Guarantee, String> {
    let specs = observed.nodes.values().filter_map(|node| node.spec.as_ref());
    // While it is being changed, some nodes know the old one still: the smaller one promises less.
    let quorum = specs.map(|spec| spec.quorum).min().unwrap_or(0);
    if quorum == 0 {
        return Err("no replica has to confirm a commit (no quorum)".to_owned());
    }
    // The primary's own word, else that of whoever follows it, who has as many peers.
    let spec = |number: u16| observed.nodes.get(&number).and_then(|node| node.spec.as_ref());
    let whose = primary.and_then(spec).or_else(|| spec(candidate)).ok_or("it is not known who had to confirm them")?;
    let named = u16::try_from(whose.peers.len()).unwrap_or(u16::MAX);
    let is_named = |number: &u16| {
        let node = observed.node_name(*number).to_string();
        primary.is_none() || whose.peers.iter().any(|peer| peer.host == node)
    };
    let answer = u16::try_from(answering.iter().filter(|number| is_named(number)).count()).unwrap_or(u16::MAX);
    let needed = (named + 1).saturating_sub(quorum);
    if answer < needed {
        return Err(format!(
            "any {quorum} of {named} confirm a commit, so that {needed} of them have to answer, not {answer}"
        ));
    }
    Ok(Guarantee::Quorum { quorum, named, answer })
}

/// How far a replica has come, on which timeline: a newer one counts more, because what lies behind its beginning on an older one was
/// given up.
pub(crate) fn received(node: &NodeInventory) -> (Option<TimelineId>, Option<Lsn>) {
    let status = node.status();
    (
        status.map(|status| status.timeline).max(status.and_then(|status| status.newest_wal)),
        status.and_then(|status| status.lsn.end()),
    )
}

/// What a node does that was asked, as the end of a sentence about it.
pub(crate) fn what_it_does(reach: &Reach) -> String {
    match reach {
        Reach::Answered(status) if status.in_recovery() => "is a replica".to_owned(),
        Reach::Answered(_) => "is a primary".to_owned(),
        Reach::Starting { reason } => format!("is starting: {reason}"),
        Reach::Unreachable { reason } => format!("does not answer: {reason}"),
        Reach::Stopped { reason } => format!("is stopped: {reason}"),
        Reach::Missing => "has no container".to_owned(),
    }
}

impl NodeInventory {
    /// Whether it answers, and takes writes.
    pub(crate) fn is_primary(&self) -> bool {
        self.status().is_some_and(|status| !status.in_recovery())
    }

    /// Whether it answers, and is in recovery.
    pub(crate) fn is_replica(&self) -> bool {
        self.status().is_some_and(NodeStatus::in_recovery)
    }

    /// What it has of a number of PostgreSQL's settings, in the setting's unit, where it says so.
    pub(crate) fn in_force(&self, setting: &str) -> Option<i64> {
        let settings = self.status()?.settings.as_ref()?;
        settings.iter().find(|found| found.name == setting)?.setting.parse().ok()
    }

    /// Whether it was told another value than it has.
    pub(crate) fn waits_for_a_start(&self, setting: &str) -> bool {
        let pending = self.status().and_then(|status| status.upkeep.pending_restart.as_ref());
        pending.is_some_and(|pending| pending.iter().any(|name| name == setting))
    }

    /// Whether anything in its container may run, now or in a moment.
    fn runs(&self) -> bool {
        matches!(
            self.container,
            Some(ContainerState::Running | ContainerState::Paused | ContainerState::Restarting { .. })
        )
    }
}
