#![doc = include_str!("../README.md")]

mod apply;
mod bring_up;
mod causes;
pub mod chaos;
mod cluster;
mod compose;
mod desired_settings;
pub mod disk;
mod docker;
mod file;
mod heartbeat;
mod helper;
mod init_script;
mod inventory;
mod lag;
mod lifecycle;
mod limits;
mod lock;
mod lookout;
mod loss;
mod model;
mod name;
mod observe;
mod origin;
mod owner;
mod plan;
mod profile;
mod quantity;
mod reason;
mod reconcile;
mod refusal;
mod rotate;
mod settings;
mod source;
mod spec;
mod step;
mod storage;
mod stream;
mod succession;
mod sweep;
mod topology;
mod url;
mod volume_size;
mod wait;

pub use apply::{ApplyError, apply};
pub use cluster::{Cluster, ClusterBuilder, ClusterError, blocking};
pub use compose::compose;
pub use desired_settings::{check_settings, foresee_settings, settle_settings};
pub use disk::DiskError;
pub use docker::{
    Attendant, ContainerConfig, ContainerState, ContainerSummary, Engine, EngineError, Exec, ExecEnd, ExecOutput,
    Helper, HelperEnd, ImageFacts, Labelled, Network, Tunnel,
};
pub use file::ClusterFile;
pub use helper::HelperError;
pub use init_script::{InitScript, InvalidScriptName, ReadScriptError};
pub use inventory::{Disk, Inventory, NodeInventory, Presence};
pub use lag::{InvalidReplayDelay, LagControl, LagError, ReplayDelay, ReplayState, control_lag};
pub use lifecycle::{ClusterListing, list_clusters, remove_cluster, require_node, stop_cluster};
pub use limits::{Cpus, InvalidCpus, Limits};
pub use lookout::{Look, Lookout};
pub use loss::LossBound;
pub use model::after;
pub use name::{ClusterName, InvalidName, LONGEST_CLUSTER_NAME, NodeName};
pub use observe::{Connection, Observer};
pub use origin::{Origin, OriginError};
pub use owner::{Fate, Owner};
pub use plan::{Plan, WaitingOn, plan};
pub use profile::Profile;
pub use quantity::{ByteCount, InvalidByteCount, InvalidTimeSpan, TimeSpan};
pub use reason::Foreseen;
pub use reconcile::{Progress, ReconcileError, Terms, foresee, foresee_by, reconcile, reconcile_by};
pub use refusal::Refusal;
pub use rotate::{Rotation, RotationError, RotationStep, plan_rotation, rotate};
pub use settings::{Changes, Setting, SettingsError, Stage, foresee_set, plan_settings, set};
pub use source::{
    Administrator, Guest, Source, SourceError, SourceFacts, SourceInventory, SourcePlace, SourceRefusal, SourceStep,
};
pub use spec::{ClusterSpec, Primacy, Replicas, Settings};
pub use step::{Guarantee, Step};
pub use storage::{InvalidStorage, Storage};
pub use stream::{Stream, streams};
pub use sweep::{remove_all_of, sweep};
pub use url::{ConnectionUrls, connection_urls};
pub use volume_size::{InvalidVolumeSize, VolumeSize};
pub use wait::{Awaited, WaitError};
