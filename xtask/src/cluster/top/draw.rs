//! The live view as lines of text: a pure function of the model and a width.

use std::collections::VecDeque;

use pgherd_probe::{Finding, Health, NodeRole, Slot};
use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
};

use super::model::{Branch, Model};
use crate::output::or_dash;

/// The most columns of a lag over time.
const MOST_SPARKS: usize = 60;

/// From nothing to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);

/// Everything, in as many lines as it takes. Findings are wrapped to the width, tables are not.
pub(super) fn page(model: &Model, width: usize) -> Vec<Line<'static>> {
    let mut page = vec![title(model), Line::default()];
    page.extend(nodes(model, width));
    if !model.slots.is_empty() {
        page.push(Line::default());
        page.extend(slots(model));
    }
    page.extend(findings(model, width));
    page
}

fn title(model: &Model) -> Line<'static> {
    let mut title = vec![
        Span::raw(format!("cluster \"{}\" is ", model.cluster)),
        Span::styled(model.report.health.to_string(), colour(model.report.health)),
        Span::raw(format!(", {} nodes", model.report.nodes.len())),
        Span::raw(model.wal_rate().map_or_else(String::new, |rate| format!(", {}/s of WAL", human(rate)))),
    ];
    let trouble = model.trouble.as_ref();
    title.extend(trouble.map(|why| Span::styled(format!("  not seen since: {why}"), colour(Health::Broken))));
    Line::from(title)
}

fn nodes(model: &Model, width: usize) -> Vec<Line<'static>> {
    let tree = model.tree();
    let header = ["NODE", "ROLE", "STATE", "TL", "LSN", "RATE", "LAG", "TIME", "MOST"];
    let mut table = columns(header, tree.iter().map(node));
    let indent = table.iter().map(Line::width).max().unwrap_or_default() + 2;
    let left = width.saturating_sub(indent).min(MOST_SPARKS);
    let push = |line: &mut Line<'static>, text: &str| {
        let gap = " ".repeat(indent - line.width());
        line.push_span(Span::raw(format!("{gap}{text}")));
    };
    push(&mut table[0], "LAG OVER TIME");
    for (line, branch) in table.iter_mut().skip(1).zip(&tree) {
        *line = std::mem::take(line).style(colour(branch.node.health));
        match branch.node.role {
            Some(NodeRole::Primary) => push(line, "-"),
            _ => push(line, &sparkline(&branch.track.lags, left)),
        }
    }
    table
}

fn node(branch: &Branch<'_>) -> [String; 9] {
    let Branch { twig, node, track } = branch;
    let most = track.lags.iter().flatten().max().copied();
    [
        format!("{twig}{}", node.node),
        or_dash(node.role),
        node.state.to_string(),
        or_dash(node.timeline),
        or_dash(node.lsn),
        or_dash(track.rate.map(|rate| format!("{}/s", human(rate)))),
        or_dash(node.replay_lag_bytes.map(human)),
        or_dash(node.replay_lag_ms.map(|ms| format!("{ms} ms"))),
        or_dash(most.map(human)),
    ]
}

fn slots(model: &Model) -> Vec<Line<'static>> {
    let row = |(node, slot): &(String, Slot)| {
        [
            slot.slot_name.clone(),
            node.clone(),
            if slot.active { "yes" } else { "no" }.to_owned(),
            or_dash(slot.wal_status.as_ref()),
            or_dash(slot.retained_bytes.map(human)),
            or_dash(slot.safe_wal_bytes.map(|bytes| human(bytes.max(0).unsigned_abs()))),
        ]
    };
    columns(["SLOT", "ON", "IN USE", "WAL", "RETAINED", "LEFT"], model.slots.iter().map(row))
}

fn findings(model: &Model, width: usize) -> Vec<Line<'static>> {
    let of_cluster = model.report.findings.iter().map(|finding| (finding, finding.to_string()));
    let of_nodes = model.report.nodes.iter().flat_map(|node| {
        let findings = node.findings.iter().map(move |finding| (finding, format!("{}: {finding}", node.node)));
        findings.chain(node.notes.iter().map(move |note| (note, format!("{}: {note} (a note)", node.node))))
    });
    of_cluster.chain(of_nodes).flat_map(|(finding, text)| finding_lines(finding, &text, width)).collect()
}

fn finding_lines(finding: &Finding, text: &str, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::default()];
    lines.extend(wrap(text, width).into_iter().map(|line| Line::styled(line, colour(finding.health()))));
    lines.extend(wrap(&format!("hint: {}", finding.hint()), width).into_iter().map(|line| Line::styled(line, FAINT)));
    lines
}

/// A table with its columns as wide as what is in them.
fn columns<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Vec<Line<'static>> {
    let rows: Vec<[String; N]> = [header.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let padded = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let line = |(number, row)| Line::styled(padded(row), if number == 0 { BOLD } else { Style::new() });
    rows.iter().enumerate().map(line).collect()
}

/// Breaks between words; a word that is longer than the width has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// The last values as bars, the highest of them as high as a line; a gap is where nothing was known.
pub(super) fn sparkline(values: &VecDeque<Option<u64>>, width: usize) -> String {
    let shown = || values.iter().skip(values.len().saturating_sub(width));
    let most = shown().flatten().max().copied().unwrap_or_default();
    let bar = |value: u64| BARS[usize::try_from(u128::from(value) * 7 / u128::from(most.max(1))).unwrap_or(7)];
    shown().map(|value| value.map_or(' ', bar)).collect()
}

/// Bytes in the largest unit of which there is one.
pub(super) fn human(bytes: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("PB", 1 << 50), ("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// The plain colours, which every terminal has.
fn colour(health: Health) -> Style {
    match health {
        Health::Healthy => Style::new(),
        Health::Degraded => Style::new().fg(Color::Yellow),
        Health::Broken => Style::new().fg(Color::Red),
    }
}
