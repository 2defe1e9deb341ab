//! Helper containers: a command beside a node, with privileges that the node does without.

use std::{collections::HashMap, time::Duration};

use bollard::{
    models::{ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions},
    query_parameters::{CreateContainerOptions, WaitContainerOptions},
};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Action, Engine, EngineError};
use crate::Origin;

/// A command for a container that lives no longer than the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Helper {
    /// What it is about to do, as an infinitive, for errors.
    pub action: String,
    /// The image's tag.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The container whose network it shares, or `None` for one of its own, or none at all.
    pub network_of: Option<String>,
    /// The networks that it joins, if it does not share one.
    pub networks: Vec<String>,
    /// Names that it knows beside those of its networks, as in `name:address`.
    pub hosts: Vec<String>,
    /// Environment variables beside those of the image.
    pub environment: Vec<(String, String)>,
    /// Linux capabilities beside Docker's usual ones, such as `NET_ADMIN`.
    pub capabilities: Vec<String>,
    /// Devices of the host that it may use where they are mounted, as the kernel's device controller writes them:
    /// `b 7:* rwm`, <https://docs.kernel.org/admin-guide/cgroup-v1/devices.html>.
    pub devices: Vec<String>,
    /// Volumes by name or paths of the engine's host, and where each is mounted.
    pub mounts: Vec<(String, String)>,
    /// What it may read and not change, and where that is mounted.
    pub reads: Option<(Origin, String)>,
    /// The user that it runs as, as the engine writes it: `0:0`. `None` for the image's own.
    pub user: Option<String>,
    /// How long it may take. `None` for two minutes, far more than most take.
    pub limit: Option<Duration>,
    /// Labels, so that a helper whose starter was killed is swept.
    pub labels: HashMap<String, String>,
}

/// How a helper ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HelperEnd {
    /// Its exit code.
    pub exit_code: i64,
    /// What it wrote, both streams in the order in which it came, trimmed.
    pub output: String,
}

/// Far more than any helper takes that has no limit of its own.
const LIMIT: Duration = Duration::from_secs(120);

/// More lines than any helper of ours writes.
const MOST_LINES: u32 = 1000;

impl Engine {
    /// Runs a helper to its end, and removes it.
    ///
    /// # Errors
    /// What the engine says, such as that the image is not there. How the command ended is for the caller to judge.
    pub async fn run_helper(&self, helper: Helper) -> Result<HelperEnd, EngineError> {
        let Helper { action, image, command, network_of, networks, hosts, environment, .. } = helper;
        let Helper { capabilities, devices, mounts, reads, user, limit, labels, .. } = helper;
        let own_network = networks.first().cloned().unwrap_or_else(|| "none".to_owned());
        let limit = limit.unwrap_or(LIMIT);
        let body = ContainerCreateBody {
            image: Some(image),
            cmd: Some(command),
            user,
            labels: Some(labels),
            env: Some(environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            host_config: Some(HostConfig {
                network_mode: Some(network_of.map_or(own_network, |name| format!("container:{name}"))),
                extra_hosts: Some(hosts),
                cap_add: Some(capabilities),
                device_cgroup_rules: Some(devices),
                // Readable, whatever the engine's default is.
                log_config: Some(HostConfigLogConfig { typ: Some("json-file".to_owned()), config: None }),
                mounts: Some(reads.map(|(origin, target)| read_only(&origin, target)).into_iter().collect()),
                binds: Some(mounts.into_iter().map(|(source, target)| format!("{source}:{target}")).collect()),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let created =
            self.docker.create_container(None::<CreateContainerOptions>, body).await.action(|| action.clone())?;
        let run = async {
            for network in networks.iter().skip(1) {
                self.connect_container(network, &created.id).await?;
            }
            self.run_created_helper(&created.id, &action).await
        };
        let end = timeout(limit, run).await.unwrap_or_else(|_| {
            let message = format!("the helper had not ended after {} s", limit.as_secs());
            Err(EngineError::Broken { action: action.clone(), message })
        });
        self.remove_container(&created.id).await?;
        end
    }

    async fn run_created_helper(&self, id: &str, action: &str) -> Result<HelperEnd, EngineError> {
        self.docker.start_container(id, None).await.action(|| action.to_owned())?;
        let mut wait = std::pin::pin!(self.docker.wait_container(id, None::<WaitContainerOptions>));
        let exit_code = match wait.next().await {
            Some(Ok(end)) => end.status_code,
            // bollard takes an exit code other than 0 for an error of its own.
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(EngineError::new(action, &error)),
            None => {
                let message = "the engine does not say how the helper ended".to_owned();
                return Err(EngineError::Broken { action: action.to_owned(), message });
            }
        };
        Ok(HelperEnd { exit_code, output: self.log_tail(id, MOST_LINES).await? })
    }
}

/// Neither is a directory made that is not there, nor an empty volume filled with what the image has in its place.
fn read_only(origin: &Origin, target: String) -> Mount {
    let (typ, volume_options) = match origin {
        Origin::Directory(_) => (MountType::BIND, None),
        Origin::Volume(_) => {
            (MountType::VOLUME, Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }))
        }
    };
    let source = Some(origin.name().to_owned());
    Mount { typ: Some(typ), source, target: Some(target), read_only: Some(true), volume_options, ..Mount::default() }
}
