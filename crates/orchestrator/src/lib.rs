#![doc = include_str!("../README.md")]

mod apply;
mod causes;
mod docker;
mod inventory;
mod lifecycle;
mod lock;
mod name;
mod observe;
mod owner;
mod plan;
mod reconcile;
mod spec;
mod step;
mod sweep;
mod url;

pub use apply::{ApplyError, apply};
pub use docker::{
    ContainerConfig, ContainerState, ContainerSummary, Engine, EngineError, Exec, ExecOutput, Labelled, Network, Tunnel,
};
pub use inventory::{Inventory, NodeInventory, Presence};
pub use lifecycle::{ClusterListing, list_clusters, remove_cluster, require_node, stop_cluster};
pub use name::{ClusterName, InvalidName, LONGEST_CLUSTER_NAME, NodeName};
pub use observe::Observer;
pub use owner::Owner;
pub use plan::{Plan, Refusal, WaitingOn, plan};
pub use reconcile::{Progress, ReconcileError, reconcile};
pub use spec::{ClusterSpec, Replicas};
pub use step::Step;
pub use sweep::{remove_all_of, sweep};
pub use url::{ConnectionUrls, connection_urls};
