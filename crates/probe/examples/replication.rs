//! Asks a server what only the replication protocol tells, as a role that may do nothing but replicate.
//!
//! ```console
//! $ cargo run --package pgherd-probe --example replication -- "host=a user=replicator sslmode=verify-full" [SLOT…]
//! ```

use std::{env, error::Error};

use pgherd_probe::{
    Replication,
    replication_protocol::{IdentifySystem, ReadReplicationSlot, ServerVersion, Show, TimelineHistory},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let conninfo =
        env::args().nth(1).ok_or("expected a connection string, as in \"host=/run/postgresql user=postgres\"")?;
    let mut server = Replication::connect(&conninfo.parse()?).await?;
    println!("version: {}", server.server_version().map_or("unknown", ServerVersion::text));
    let identity = server.ask(&IdentifySystem).await?;
    println!("system identifier: {}", identity.system_identifier);
    println!("timeline: {}, at {}", identity.timeline, identity.end);
    println!("wal_segment_size: {}", server.ask(&Show("wal_segment_size".to_owned())).await?);
    // The first timeline has no history: to ask for it is an error, after which the session goes on.
    match server.ask(&TimelineHistory(identity.timeline)).await {
        Ok(history) => println!("history: {history:?}"),
        Err(error) => println!("history: {error}"),
    }
    for slot in env::args().skip(2) {
        println!("slot {slot}: {:?}", server.ask(&ReadReplicationSlot(slot.clone())).await?);
    }
    server.close().await;
    Ok(())
}
