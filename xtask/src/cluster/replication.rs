//! `cluster replication`: every stream, from both of its ends.

use std::process::ExitCode;

use pgherd_orchestrator::{ClusterName, Engine, Lookout, Stream, streams};
use pgherd_probe::{Downstream, Lsn};
use serde::Serialize;

use crate::output::{self, Format, or_dash};

/// The version of the JSON form.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Replication<'a> {
    cluster: &'a ClusterName,
    schema: u32,
    streams: &'a [Stream],
}

pub(super) async fn replication(engine: &Engine, cluster: &ClusterName, format: Format) -> anyhow::Result<ExitCode> {
    let streams = streams(&Lookout::new(engine, cluster).look().await?.observed);
    match format {
        Format::Json => output::json(&Replication { cluster, schema: SCHEMA, streams: &streams })?,
        Format::Table => output::table(HEADER, streams.iter().map(row))?,
    }
    Ok(ExitCode::SUCCESS)
}

const HEADER: [&str; 15] = [
    "UPSTREAM",
    "DOWNSTREAM",
    "SENDER",
    "RECEIVER",
    "SYNC",
    "SENT",
    "WRITE",
    "FLUSH",
    "REPLAY",
    "LAG",
    "WRITE LAG",
    "FLUSH LAG",
    "REPLAY LAG",
    "SLOT",
    "RETAINED",
];

/// LSNs and times are the sender's, which hears of them from the receiver; the lag in bytes is what the upstream has and the
/// downstream has not said that it replayed.
fn row(stream: &Stream) -> [String; 15] {
    let sender = stream.sender.as_ref();
    let lsn = |of: fn(&Downstream) -> Option<Lsn>| or_dash(sender.and_then(of));
    let ms = |of: fn(&Downstream) -> Option<u64>| or_dash(sender.and_then(of).map(|ms| format!("{ms} ms")));
    let bytes = |bytes: Option<u64>| or_dash(bytes.map(|bytes| format!("{bytes} B")));
    let replayed = sender.and_then(|sender| sender.replay_lsn);
    let lag = stream.upstream_lsn.zip(replayed).map(|(end, replayed)| end.bytes_since(replayed));
    [
        stream.upstream.clone(),
        stream.downstream.clone(),
        or_dash(sender.and_then(|sender| sender.state.as_ref())),
        or_dash(stream.receiver.as_ref().and_then(|receiver| receiver.status.as_ref())),
        or_dash(sender.and_then(|sender| sender.sync_state.as_ref())),
        lsn(|sender| sender.sent_lsn),
        lsn(|sender| sender.write_lsn),
        lsn(|sender| sender.flush_lsn),
        lsn(|sender| sender.replay_lsn),
        bytes(lag),
        ms(|sender| sender.write_lag_ms),
        ms(|sender| sender.flush_lag_ms),
        ms(|sender| sender.replay_lag_ms),
        or_dash(stream.slot.as_ref().map(|slot| &slot.slot_name)),
        bytes(stream.slot.as_ref().and_then(|slot| slot.retained_bytes)),
    ]
}
