//! Why a plan is refused, before anything is changed.

use crate::{ClusterName, NodeName, Origin, Replicas, SourceRefusal, Storage, VolumeSize};

/// Why nothing can be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is about a server that is not ours.
    #[error(transparent)]
    Source(#[from] SourceRefusal),
    /// Something on the engine has a name that we need.
    #[error(
        "{kind} \"{name}\" exists already and does not belong to cluster \"{cluster}\"\nhint: Choose another name, or remove it."
    )]
    NameTaken {
        /// Container, volume or network.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The cluster that was to use it.
        cluster: ClusterName,
    },
    /// The cluster runs another major version.
    #[error(
        "cluster \"{cluster}\" runs PostgreSQL {found}, not {wanted}\nhint: Give it its own version, or use another name."
    )]
    OtherMajor {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: u16,
        /// There.
        found: u16,
    },
    /// More nodes are there than were asked for.
    #[error(
        "cluster \"{cluster}\" has {found} replicas already, more than {wanted}\nhint: \"cluster scale {cluster} {wanted}\" removes some, with their data."
    )]
    TooManyReplicas {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: u16,
        /// There.
        found: u16,
    },
    /// A number of replicas that makes no sense.
    #[error("cannot make {0} replicas\nhint: Ask for 1 to {max}.", max = Replicas::MAX)]
    BadReplicaCount(u16),
    /// Ports are published when a container is created, or never.
    #[error(
        "cluster \"{0}\" was made without published ports\nhint: Remove it and make it again with \"--publish\", or connect from inside its network."
    )]
    NotPublished(ClusterName),
    /// The volumes of the cluster have another size.
    #[error(
        "the volumes of cluster \"{cluster}\" have {found}, not {wanted}\n\
         hint: Leave out \"--volume-size\", or remove the cluster and make it again."
    )]
    OtherVolumeSize {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: VolumeSize,
        /// There.
        found: VolumeSize,
    },
    /// The volumes of the cluster share the engine's file system.
    #[error(
        "the volumes of cluster \"{cluster}\" have no size of their own, so none of {wanted}\n\
         hint: Leave out \"--volume-size\", or remove the cluster and make it again."
    )]
    NoVolumeSize {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: VolumeSize,
    },
    /// The nodes keep their data elsewhere.
    #[error(
        "the data of cluster \"{cluster}\" are on \"{found}\", not on \"{wanted}\"\n\
         hint: Leave out \"--volume\", or remove the cluster and make it again."
    )]
    OtherStorage {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: Storage,
        /// There.
        found: Storage,
    },
    /// Only volumes of the engine's have a size of their own.
    #[error(
        "a volume on \"{storage}\" cannot have a size of {size}\nhint: Leave out \"--volume-size\", or \"--volume\"."
    )]
    StorageHasNoSize {
        /// Asked for.
        storage: Storage,
        /// Asked for, or there.
        size: VolumeSize,
    },
    /// Data are brought to volumes.
    #[error(
        "the data of {0} cannot be copied into memory\n\
         hint: Leave out \"--volume tmpfs\" and \"--profile throwaway\"; \"--setting fsync=off\" may stay."
    )]
    OriginInMemory(Origin),
    /// The primary's data are gone.
    #[error(
        "the data of \"{0}\", the primary, were in memory, and are gone with its container\n\
         hint: \"cluster failover {cluster} --allow-data-loss\" makes a replica the primary that still runs; or remove the cluster.", cluster = .0.cluster
    )]
    LostWithMemory(NodeName),
    /// A stop would lose the data.
    #[error(
        "the data of \"{0}\" are in memory, and lost by a stop\n\
         hint: \"cluster switchover {cluster}\" makes another node the primary; \"cluster rm {cluster}\" removes all.", cluster = .0.cluster
    )]
    InMemory(NodeName),
    /// A cluster begins but once.
    #[error(
        "cluster \"{cluster}\" is there already, and did not begin with the data of {wanted}\n\
         hint: Leave that out, or give the cluster that is to begin with them another name."
    )]
    OtherOrigin {
        /// The cluster.
        cluster: ClusterName,
        /// Asked for.
        wanted: Origin,
    },
    /// There are nodes, but no primary among them, and none may be made up.
    #[error(
        "cluster \"{0}\" has nodes, but none is or was asked to be its primary\n\
         hint: If the data of the nodes that are left do not matter, \"cluster rm {0}\" removes them."
    )]
    NoPrimary(ClusterName),
    /// The primary is another one than was asked to be, and nobody of ours has made it that.
    #[error(
        "\"{is}\" is the primary now, and \"{was}\" was asked to be: starting it would make a second one\n\
         hint: If what only \"{was}\" has may go to its trash, \"cluster rejoin {was}\" makes it a replica of \"{is}\"."
    )]
    PrimaryMoved {
        /// Asked to be the primary.
        was: NodeName,
        /// Answers as the primary.
        is: NodeName,
    },
    /// A replica has what its upstream has not, and nobody has said that it may lose that.
    #[error(
        "{how}: it cannot follow any more\n\
         hint: If what \"{node}\" has beyond that may go to its trash, \"cluster rejoin {node}\" rewinds it; \"cluster remove {node}\" gives it up."
    )]
    Parted {
        /// The replica.
        node: NodeName,
        /// The probe's finding.
        how: String,
    },
    /// More than one node takes writes.
    #[error("nodes {} are primaries at once\nhint: Stop all but the one whose data shall stay.", .0.join(", "))]
    SplitBrain(Vec<String>),
    /// What a node was asked to be makes no sense.
    #[error("could not read what \"{node}\" is asked to be: {reason}\nhint: It may have been made by a newer version.")]
    UnreadableSpec {
        /// The node.
        node: NodeName,
        /// What is wrong.
        reason: String,
    },
    /// A container of somebody else is on the network that is to go.
    #[error("network \"{network}\" is in use by {by}\nhint: Remove that first.")]
    NetworkInUse {
        /// The network.
        network: String,
        /// The containers.
        by: String,
    },
    /// Nothing of this name is there.
    #[error("there is no cluster \"{0}\"\nhint: \"cluster ls\" lists what there is, and \"cluster up {0}\" makes one.")]
    NoSuchCluster(ClusterName),
    /// Nothing of this name is there, or it is somebody else's.
    #[error("there is no node \"{0}\"\nhint: \"cluster status {cluster}\" lists the nodes of a cluster.", cluster = .0.cluster)]
    NoSuchNode(NodeName),
    /// Clusters do not mix.
    #[error("\"{node}\" is no node of cluster \"{cluster}\"\nhint: \"cluster status {cluster}\" lists its nodes.")]
    OtherCluster {
        /// The node.
        node: NodeName,
        /// The cluster.
        cluster: ClusterName,
    },
    /// A primary follows nobody.
    #[error(
        "\"{0}\" is the primary, which follows nobody\nhint: \"cluster switchover\" makes another node the primary."
    )]
    PrimaryFollowsNobody(NodeName),
    /// Somebody who is not there cannot be followed.
    #[error("cannot make \"{node}\" a replica of \"{upstream}\": there is no such node\nhint: \"cluster status {cluster}\" lists the nodes.", cluster = .node.cluster)]
    NoSuchUpstream {
        /// Who was to follow.
        node: NodeName,
        /// Whom.
        upstream: NodeName,
    },
    /// They would follow one another, and none the primary.
    #[error("nodes {} would follow each other in a circle\nhint: Every chain of upstreams has to end at the primary.", .0.join(", "))]
    Circle(Vec<String>),
    /// No commit could ever be acknowledged.
    #[error(
        "a quorum of {quorum} is more than the {replicas} replicas of cluster \"{cluster}\"\n\
         hint: Commits would wait for ever. Ask for a smaller quorum, or for more replicas."
    )]
    QuorumTooLarge {
        /// The cluster.
        cluster: ClusterName,
        /// How many would have to answer.
        quorum: u16,
        /// How many there are, or would be.
        replicas: u16,
    },
    /// No commit could ever be acknowledged, because too few follow the primary itself.
    #[error(
        "a quorum of {quorum} is more than the {direct} replicas of cluster \"{cluster}\" that follow the primary itself\n\
         hint: A replica of a replica confirms no commit. Ask for a smaller quorum, or let more follow the primary."
    )]
    QuorumTooFar {
        /// The cluster.
        cluster: ClusterName,
        /// How many would have to answer.
        quorum: u16,
        /// How many can, or could.
        direct: u16,
    },
    /// Its data are the ones that everybody else copies.
    #[error("cannot remove \"{0}\", which is the primary\nhint: \"cluster switchover {cluster}\" makes another node the primary first.", cluster = .0.cluster)]
    RemovesPrimary(NodeName),
    /// The node that is to take over cannot.
    #[error("\"{node}\" cannot become the primary: it {reason}\nhint: {hint}")]
    UnfitCandidate {
        /// The node.
        node: NodeName,
        /// Why not, as what it does.
        reason: String,
        /// What would help.
        hint: String,
    },
    /// Nobody can take over.
    #[error(
        "no replica of cluster \"{cluster}\" can become the primary: {reasons}\nhint: \"cluster status {cluster}\" tells more."
    )]
    NoCandidate {
        /// The cluster.
        cluster: ClusterName,
        /// Why not, for each.
        reasons: String,
    },
    /// There is nobody to take over from in good order.
    #[error(
        "cannot switch over: \"{primary}\" {doing}\n\
         hint: \"cluster failover {cluster}\" makes a replica the primary without it.",
        cluster = .primary.cluster
    )]
    PrimaryDoesNotAnswer {
        /// The primary.
        primary: NodeName,
        /// What it does instead.
        doing: String,
    },
    /// Nothing has failed.
    #[error(
        "cannot fail over: \"{primary}\" is the primary, and answers\n\
         hint: \"cluster switchover {cluster}\" moves the primary and loses nothing; \"--force\" kills it.",
        cluster = .primary.cluster
    )]
    PrimaryAnswers {
        /// The primary.
        primary: NodeName,
    },
    /// Acknowledged commits could be missing.
    #[error(
        "promoting \"{candidate}\" may lose commits that were acknowledged: {why}\n\
         hint: Bring the old primary back with \"cluster start\", or add \"--allow-data-loss\", which says how much that is at most."
    )]
    MayLoseData {
        /// Who would be promoted.
        candidate: NodeName,
        /// Why it is not known to have all of them.
        why: String,
    },
    /// Another one has more.
    #[error(
        "\"{candidate}\" has {bytes} bytes of WAL less than \"{best}\"\n\
         hint: Promote \"{best}\", or add \"--allow-data-loss\"."
    )]
    Behind {
        /// Who was named.
        candidate: NodeName,
        /// Who has more.
        best: NodeName,
        /// How much more.
        bytes: u64,
    },
}
