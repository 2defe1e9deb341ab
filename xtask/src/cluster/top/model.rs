//! What the live view shows: a pure fold over looks, which remembers what one look cannot tell.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use pgherd_orchestrator::ClusterName;
use pgherd_probe::{Lsn, NodeReport, NodeRole, Observed, Report, Slot, TimelineId};

/// How many looks are remembered; a screen is seldom wider.
const MOST_REMEMBERED: usize = 240;

/// A cluster over some time.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) cluster: ClusterName,
    /// The last verdict.
    pub(super) report: Report,
    /// Every slot, with the node that it is on.
    pub(super) slots: Vec<(String, Slot)>,
    /// Why the last look has shown nothing, where it has not.
    pub(super) trouble: Option<String>,
    tracks: BTreeMap<String, Track>,
}

/// A node over some time.
#[derive(Debug, Clone, Default)]
pub(super) struct Track {
    /// Bytes that were not replayed, the last look last; `None` where that was unknown.
    pub(super) lags: VecDeque<Option<u64>>,
    /// Bytes a second that were written on a primary, or replayed on a replica, between the last two looks.
    pub(super) rate: Option<u64>,
    last: Option<(Duration, TimelineId, Lsn)>,
}

/// A node in its place below its upstream.
pub(super) struct Branch<'a> {
    /// What is drawn before its name; nothing before a root.
    pub(super) twig: String,
    pub(super) node: &'a NodeReport,
    pub(super) track: &'a Track,
}

impl Model {
    /// Begins with a first look. Times are since any one moment.
    pub(super) fn new(cluster: &ClusterName, at: Duration, observed: &[Observed], report: Report) -> Model {
        let (slots, tracks) = (Vec::new(), BTreeMap::new());
        let mut model = Model { cluster: cluster.clone(), report: report.clone(), slots, tracks, trouble: None };
        model.fold(at, observed, report);
        model
    }

    /// Adds a look.
    pub(super) fn fold(&mut self, at: Duration, observed: &[Observed], report: Report) {
        let mut tracks = BTreeMap::new();
        for node in &report.nodes {
            let track = self.tracks.remove(&node.node).unwrap_or_default();
            tracks.insert(node.node.clone(), track.after(at, node));
        }
        // Nodes that are gone are forgotten.
        self.tracks = tracks;
        self.slots = observed
            .iter()
            .filter_map(|node| Some((node, node.status()?)))
            .flat_map(|(node, status)| status.slots.iter().map(|slot| (node.node.clone(), slot.clone())))
            .collect();
        self.report = report;
        self.trouble = None;
    }

    /// Bytes a second that the primary writes; unknown of none, and of several.
    pub(super) fn wal_rate(&self) -> Option<u64> {
        let mut primaries = self.report.nodes.iter().filter(|node| node.role == Some(NodeRole::Primary));
        match (primaries.next(), primaries.next()) {
            (Some(primary), None) => self.tracks.get(&primary.node)?.rate,
            _ => None,
        }
    }

    /// Every node once, each below its upstream. Those that stream in a circle are below none.
    pub(super) fn tree(&self) -> Vec<Branch<'_>> {
        let nodes = &self.report.nodes;
        let names: BTreeSet<&str> = nodes.iter().map(|node| &*node.node).collect();
        let is_root = |node: &&NodeReport| node.upstream.as_deref().is_none_or(|upstream| !names.contains(upstream));
        let (mut seen, mut tree) = (BTreeSet::new(), Vec::new());
        // Whatever no root leads to comes after all that one leads to.
        for root in nodes.iter().filter(is_root).chain(nodes) {
            self.grow(root, String::new(), "", &mut seen, &mut tree);
        }
        tree
    }

    fn grow<'a>(
        &'a self,
        node: &'a NodeReport,
        twig: String,
        below: &str,
        seen: &mut BTreeSet<&'a str>,
        tree: &mut Vec<Branch<'a>>,
    ) {
        let Some(track) = self.tracks.get(&node.node).filter(|_| seen.insert(&node.node)) else { return };
        tree.push(Branch { twig, node, track });
        let downstreams = || self.report.nodes.iter().filter(|other| other.upstream.as_ref() == Some(&node.node));
        let last = downstreams().count().saturating_sub(1);
        for (number, downstream) in downstreams().enumerate() {
            let (fork, trunk) = if number == last { ("└ ", "  ") } else { ("├ ", "│ ") };
            self.grow(downstream, format!("{below}{fork}"), &format!("{below}{trunk}"), seen, tree);
        }
    }
}

impl Track {
    fn after(mut self, at: Duration, node: &NodeReport) -> Track {
        if self.lags.len() == MOST_REMEMBERED {
            self.lags.pop_front();
        }
        self.lags.push_back(node.replay_lag_bytes);
        let seen = node.timeline.zip(node.lsn).map(|(timeline, lsn)| (at, timeline, lsn));
        self.rate = self.last.zip(seen).and_then(|((then, old, from), (now, new, to))| {
            let ms = u64::try_from(now.checked_sub(then)?.as_millis()).ok()?;
            // Positions of two histories cannot be compared.
            (old == new && ms > 0).then(|| to.bytes_since(from).saturating_mul(1000) / ms)
        });
        self.last = seen;
        self
    }
}
