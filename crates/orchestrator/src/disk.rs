//! Disks: node volumes of limited size, so that a full one can be tried without filling the engine's.
//!
//! A disk is a sparse file on a volume of its own, with an ext4 file system in it, attached to a loop device. The engine mounts
//! that device as the node's volume (`mount -o loop` is beyond its `local` driver). Helper containers do the attaching, with
//! the host's loop devices as their only privilege.
//!
//! <https://docs.docker.com/reference/cli/docker/volume/create/#opt>, losetup(8), mke2fs(8)

use std::{collections::HashMap, time::Duration};

use futures_util::future::try_join_all;
use pgherd_images::contract::{self, labels};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::{
    ClusterName, ContainerState, Engine, EngineError, Helper, HelperError, Labelled, NodeName, VolumeSize, helper,
};

/// Something about a disk that failed.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A helper's.
    #[error(transparent)]
    Helper(#[from] HelperError),
    /// The node's volume is on the engine's own file system.
    #[error(
        "\"{0}\" has no disk of its own, and to fill its volume would fill the engine's file system\n\
         hint: A cluster that is made by \"cluster up --volume-size\" has a disk for every node."
    )]
    NoDisk(NodeName),
    /// The agent of a node does not see the room that was made for it.
    #[error(
        "made room on the disk of \"{node}\", and {} s later its agent says that {free_bytes} bytes are free\n\
         hint: Something else may fill it: \"cluster status {}\" and \"cluster logs {node}\" tell more.",
        ROOM_SEEN_WITHIN.as_secs(),
        .node.cluster
    )]
    NoRoomSeen {
        /// Which one.
        node: NodeName,
        /// What it has seen last.
        free_bytes: u64,
    },
}

/// Where helpers find the volume with the disk.
const DISK_MOUNT: &str = "/disk";

/// Where helpers find the node's volume.
const VOLUME_MOUNT: &str = "/volume";

/// The file that fills a node's volume, at its top, beside everything of PostgreSQL's.
const BALLAST: &str = "ballast";

/// How long the agent may take to see room on its disk: it looks once a second, and tells at least every five.
const ROOM_SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at what it has seen.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Less is no room.
const LEAST_ROOM_BYTES: u64 = 1 << 20;

/// Loop devices and what gives out new ones, <https://docs.kernel.org/admin-guide/devices.html>.
const LOOP_DEVICES: [&str; 2] = ["b 7:* rwm", "c 10:237 rwm"];

/// Makes the node's disk unless it is made, and attaches it unless it is attached.
pub(crate) async fn attach(engine: &Engine, node: &NodeName) -> Result<(), DiskError> {
    let Some(disk) = Disk::find(engine, node).await? else { return Err(DiskError::NoDisk(node.clone())) };
    let script = attach_script(node, disk.size);
    disk.run_with_devices(engine, format!("attach the disk of \"{node}\""), &script).await
}

/// Detaches the node's disk, wherever it is attached. A disk that is not there is no error.
pub(crate) async fn detach(engine: &Engine, node: &NodeName) -> Result<(), DiskError> {
    let Some(disk) = Disk::find(engine, node).await? else { return Ok(()) };
    disk.run_with_devices(engine, format!("detach the disk of \"{node}\""), &detach_script(node)).await
}

/// Takes all space that is left on the node's own volume.
///
/// # Errors
/// [`DiskError::NoDisk`] where that would fill the engine's own file system; and what the engine and the helper say.
pub async fn fill(engine: &Engine, node: &NodeName) -> Result<(), DiskError> {
    let Some(disk) = Disk::find(engine, node).await? else { return Err(DiskError::NoDisk(node.clone())) };
    disk.run_on_volume(engine, format!("fill the disk of \"{node}\""), &fill_script()).await
}

/// Gives the space back that [`fill`] has taken, also on a disk that is no longer attached, and returns when the agent of a node that runs
/// has seen it. Where nothing is taken, nothing is done.
///
/// # Errors
/// What the engine and the helper say, and [`DiskError::NoRoomSeen`] where it says after 10 s that there is none.
pub async fn release(engine: &Engine, node: &NodeName) -> Result<(), DiskError> {
    let Some(disk) = Disk::find(engine, node).await? else { return Ok(()) };
    attach(engine, node).await?;
    disk.run_on_volume(engine, format!("make room on the disk of \"{node}\""), &release_script()).await?;
    let deadline = Instant::now() + ROOM_SEEN_WITHIN;
    let mut first = None;
    while let Some(Room { free_bytes, at_unix_ms }) = told_room(engine, node).await? {
        if free_bytes >= LEAST_ROOM_BYTES {
            break;
        }
        let first = *first.get_or_insert(at_unix_ms);
        if Instant::now() > deadline {
            // Without a PostgreSQL nothing is told, and what is there is from before.
            let is_of_now = at_unix_ms != first;
            return if is_of_now { Err(DiskError::NoRoomSeen { node: node.clone(), free_bytes }) } else { Ok(()) };
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// What the agent writes.
#[derive(Deserialize)]
struct Room {
    free_bytes: u64,
    at_unix_ms: u64,
}

/// What the agent of a node that runs has told last.
async fn told_room(engine: &Engine, node: &NodeName) -> Result<Option<Room>, EngineError> {
    let name = node.to_string();
    let runs = engine.inspect_container(&name).await?.is_some_and(|found| found.state == ContainerState::Running);
    if !runs {
        return Ok(None);
    }
    let told = engine.read_file(&name, contract::DISK_FILE).await?;
    Ok(told.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// Whether [`fill`] was here, seen through the node's container, which need not run.
///
/// # Errors
/// If the engine cannot be asked.
pub async fn is_filled(engine: &Engine, node: &NodeName) -> Result<bool, EngineError> {
    engine.has_file(&node.to_string(), &format!("{}/{BALLAST}", contract::NODE_VOLUME)).await
}

/// The size of the disks of a cluster, if its nodes have some. With them come helpers.
///
/// # Errors
/// If the engine cannot be asked.
pub async fn volume_size(engine: &Engine, cluster: &ClusterName) -> Result<Option<VolumeSize>, EngineError> {
    let volumes = engine.list_volumes(&format!("{}={cluster}", labels::CLUSTER)).await?;
    Ok(volumes.iter().find_map(|(name, labels)| disk_of(name, labels)).map(|(_, size)| size))
}

/// Removes volumes. The disks among them are detached first, and go last: as long as one is there, whoever comes next
/// sees that something is left to detach.
pub(crate) async fn remove_volumes(engine: &Engine, volumes: &Labelled) -> Result<(), DiskError> {
    let disks: Vec<NodeName> = volumes.iter().filter_map(|(name, labels)| disk_of(name, labels)).map(|d| d.0).collect();
    try_join_all(disks.iter().map(|node| detach(engine, node))).await?;
    let is_disk = |name: &str| disks.iter().any(|node| node.disk_volume() == name);
    for last in [false, true] {
        let now = volumes.keys().filter(|name| is_disk(name) == last);
        try_join_all(now.map(|name| engine.remove_volume(name))).await?;
    }
    Ok(())
}

/// The node whose disk a volume holds, and the disk's size. Most volumes hold none.
pub(crate) fn disk_of(volume: &str, labels: &HashMap<String, String>) -> Option<(NodeName, VolumeSize)> {
    let node: NodeName = labels.get(labels::NODE)?.parse().ok()?;
    let size = VolumeSize::from_label(labels.get(labels::VOLUME_SIZE)?)?;
    (node.disk_volume() == volume).then_some((node, size))
}

/// A disk that is there.
struct Disk {
    node: NodeName,
    size: VolumeSize,
    labels: HashMap<String, String>,
}

impl Disk {
    async fn find(engine: &Engine, node: &NodeName) -> Result<Option<Disk>, EngineError> {
        let Some(labels) = engine.inspect_volume(&node.disk_volume()).await? else { return Ok(None) };
        Ok(disk_of(&node.disk_volume(), &labels).map(|(node, size)| Disk { node, size, labels }))
    }

    async fn run_with_devices(&self, engine: &Engine, action: String, script: &str) -> Result<(), DiskError> {
        let disk = (self.node.disk_volume(), DISK_MOUNT.to_owned());
        let mounts = vec![disk, ("/dev".to_owned(), "/dev".to_owned())];
        let devices = LOOP_DEVICES.map(str::to_owned).into();
        self.run(engine, script, Helper { action, mounts, devices, ..Helper::default() }).await
    }

    async fn run_on_volume(&self, engine: &Engine, action: String, script: &str) -> Result<(), DiskError> {
        let mounts = vec![(self.node.volume(), VOLUME_MOUNT.to_owned())];
        self.run(engine, script, Helper { action, mounts, ..Helper::default() }).await
    }

    async fn run(&self, engine: &Engine, script: &str, settings: Helper) -> Result<(), DiskError> {
        Ok(helper::run_script(engine, &self.node, &self.labels, script, settings).await.map(drop)?)
    }
}

/// A file system that is not complete has another name, so that whoever comes next makes it anew. No block is reserved for root,
/// and nothing is left for the kernel to write later: what is free is free for PostgreSQL.
fn attach_script(node: &NodeName, size: VolumeSize) -> String {
    let (uid, size, device) = (contract::UID, size.bytes(), node.disk_device());
    format!(
        "\
if [ ! -e {DISK_MOUNT}/disk ]; then
    rm -f {DISK_MOUNT}/unfinished
    truncate -s {size} {DISK_MOUNT}/unfinished
    mkfs.ext4 -q -b 4096 -m 0 -E root_owner={uid}:{uid},lazy_itable_init=0,lazy_journal_init=0 {DISK_MOUNT}/unfinished
    mv {DISK_MOUNT}/unfinished {DISK_MOUNT}/disk
fi
loop=$(losetup --noheadings --output NAME --associated {DISK_MOUNT}/disk)
[ -n \"$loop\" ] || loop=$(losetup --find --show {DISK_MOUNT}/disk)
ln -sfn \"$loop\" {device}"
    )
}

/// The name goes first: while it is there, it leads to this disk and to no other.
fn detach_script(node: &NodeName) -> String {
    let device = node.disk_device();
    format!(
        "\
rm -f {device}
if [ -e {DISK_MOUNT}/disk ]; then
    for loop in $(losetup --noheadings --output NAME --associated {DISK_MOUNT}/disk); do
        losetup --detach \"$loop\"
    done
fi"
    )
}

/// All that is free at first, then ever less until not a block is left: the ballast's own tables take some, too, and servers
/// write and remove meanwhile. Allocated and not written, the ballast takes nothing from the engine's own file system.
fn fill_script() -> String {
    let ballast = format!("{VOLUME_MOUNT}/{BALLAST}");
    format!(
        "\
touch {ballast}
piece=$(df -k --output=avail {VOLUME_MOUNT} | tail -n 1)
while [ \"$piece\" -gt 0 ]; do
    fallocate --offset \"$(stat -c %s {ballast})\" --length \"${{piece}}KiB\" {ballast} || piece=$((piece / 2))
done"
    )
}

fn release_script() -> String {
    format!("rm -f {VOLUME_MOUNT}/{BALLAST}")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn node() -> NodeName {
        "demo-1".parse().expect("a node")
    }

    #[test]
    fn what_helpers_run() {
        assert_snapshot!(attach_script(&node(), "512MB".parse().expect("a size")), @r#"
        if [ ! -e /disk/disk ]; then
            rm -f /disk/unfinished
            truncate -s 536870912 /disk/unfinished
            mkfs.ext4 -q -b 4096 -m 0 -E root_owner=999:999,lazy_itable_init=0,lazy_journal_init=0 /disk/unfinished
            mv /disk/unfinished /disk/disk
        fi
        loop=$(losetup --noheadings --output NAME --associated /disk/disk)
        [ -n "$loop" ] || loop=$(losetup --find --show /disk/disk)
        ln -sfn "$loop" /dev/pgherd-demo-1
        "#);
        assert_snapshot!(detach_script(&node()), @r#"
        rm -f /dev/pgherd-demo-1
        if [ -e /disk/disk ]; then
            for loop in $(losetup --noheadings --output NAME --associated /disk/disk); do
                losetup --detach "$loop"
            done
        fi
        "#);
        assert_snapshot!(fill_script(), @r#"
        touch /volume/ballast
        piece=$(df -k --output=avail /volume | tail -n 1)
        while [ "$piece" -gt 0 ]; do
            fallocate --offset "$(stat -c %s /volume/ballast)" --length "${piece}KiB" /volume/ballast || piece=$((piece / 2))
        done
        "#);
        assert_snapshot!(release_script(), @"rm -f /volume/ballast");
    }

    #[test]
    fn a_disk_is_told_by_its_labels_and_its_name() {
        let labels = |node: &str| {
            HashMap::from([(labels::NODE, node), (labels::VOLUME_SIZE, "536870912")].map(|(k, v)| (k.into(), v.into())))
        };
        let size = "512MB".parse().expect("a size");
        assert_eq!(disk_of("pgherd-demo-1-disk", &labels("demo-1")), Some((node(), size)));
        assert_eq!(disk_of("pgherd-demo-1", &labels("demo-1")), None);
        assert_eq!(disk_of("pgherd-demo-1-disk", &labels("demo-2")), None);
        assert_eq!(disk_of("pgherd-demo-1-disk", &HashMap::new()), None);
    }
}
