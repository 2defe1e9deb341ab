//! Containers: the nodes themselves.

use std::{collections::HashMap, net::IpAddr, pin::pin, time::Duration};

use backon::{ConstantBuilder, Retryable};
use bollard::{
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerUpdateBody, HostConfig, Mount, MountType, PortBinding,
        RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
        RemoveContainerOptionsBuilder, RestartContainerOptionsBuilder, StatsOptionsBuilder,
        StopContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future::try_join_all};
use pgherd_images::{
    contract::{self, environment},
    date::Timestamp,
};

use tokio::time::{Instant, sleep};

use crate::{ByteCount, Cpus, Limits};

use super::{Action, Engine, EngineError, exec::ExecOutput, found, resource::Network};

/// What it takes to create the container of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// The container's name, which is its host name on the network, too.
    pub name: String,
    /// The image's tag.
    pub image: String,
    /// The network that it joins.
    pub network: String,
    /// Names that it knows beside those of its networks, as in `name:address`.
    pub hosts: Vec<String>,
    /// Volumes by name, and where each is mounted.
    pub volumes: Vec<(String, String)>,
    /// Paths that are in memory, each with the mount options of its tmpfs.
    pub in_memory: Vec<(String, String)>,
    /// How much it may take.
    pub limits: Limits,
    /// Environment variables beside those of the image.
    pub environment: Vec<(String, String)>,
    /// The port inside, and the port of the host's loopback interface that leads to it.
    pub published: Option<(u16, u16)>,
    /// Labels, which can never be changed.
    pub labels: HashMap<String, String>,
}

/// What the engine says of a container's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Never started.
    Created,
    /// Running, or on its way out.
    Running,
    /// Frozen by the engine.
    Paused,
    /// Between two starts of the restart policy, which means that it ended by itself.
    Restarting {
        /// The exit code of the last process.
        exit_code: i64,
    },
    /// Ended, and stays so until somebody starts it.
    Exited {
        /// The exit code of the last process.
        exit_code: i64,
    },
}

/// A container as found on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its name.
    pub name: String,
    /// The image that it was made of, by its identifier: a tag may mean another one by now.
    pub image_id: String,
    /// Its state.
    pub state: ContainerState,
    /// The tag of the image that it was made of.
    pub image: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Its environment, with the image's.
    pub environment: HashMap<String, String>,
    /// The port of the host that leads to PostgreSQL.
    pub published: Option<u16>,
    /// How much it may take.
    pub limits: Limits,
    /// Its addresses on its networks, while it runs.
    pub addresses: Vec<IpAddr>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its first process, as the engine's host numbers it, while it runs.
    pub process: Option<i64>,
}

impl ContainerConfig {
    /// Longer than any fast shutdown should take; the engine kills what is left then.
    /// Its default of ten seconds would kill PostgreSQL in the middle of a shutdown checkpoint.
    pub(crate) const STOP_TIMEOUT_SECONDS: i32 = 90;

    /// Parallel query allocates in `/dev/shm`; Docker's 64 MB are too few for it.
    pub(crate) const SHARED_MEMORY_BYTES: i64 = 256 << 20;

    /// The path of a node's data, and the mount options of the tmpfs that holds them if they are in memory.
    pub(crate) fn data_in_memory(major: u16) -> (String, String) {
        (contract::version_directory(major), format!("uid={0},gid={0},mode=0700", contract::UID))
    }
}

/// How long another client of the engine may take to remove what we wanted to remove.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(30);

impl Engine {
    /// Creates a container, and does not start it.
    ///
    /// # Errors
    /// A conflict where the name is taken, and what else the engine says.
    pub async fn create_container(&self, config: ContainerConfig) -> Result<(), EngineError> {
        let mounts = config.volumes.into_iter().map(|(source, target)| Mount {
            typ: Some(MountType::VOLUME),
            source: Some(source),
            target: Some(target),
            ..Mount::default()
        });
        let port_bindings = config.published.map(|(inside, outside)| {
            let binding = PortBinding { host_ip: Some("127.0.0.1".to_owned()), host_port: Some(outside.to_string()) };
            HashMap::from([(format!("{inside}/tcp"), Some(vec![binding]))])
        });
        // The agent turns a shutdown that hangs into an immediate one while there is time.
        let grace = format!("{}={}", environment::STOP_SECONDS, ContainerConfig::STOP_TIMEOUT_SECONDS);
        let body = ContainerCreateBody {
            hostname: Some(config.name.clone()),
            image: Some(config.image),
            labels: Some(config.labels),
            env: Some(
                config.environment.iter().map(|(name, value)| format!("{name}={value}")).chain([grace]).collect(),
            ),
            stop_timeout: Some(ContainerConfig::STOP_TIMEOUT_SECONDS.into()),
            host_config: Some(HostConfig {
                mounts: Some(mounts.collect()),
                network_mode: Some(config.network),
                extra_hosts: Some(config.hosts),
                port_bindings,
                tmpfs: Some(config.in_memory.into_iter().collect()),
                memory: config.limits.memory.map(|memory| memory.0 as i64),
                // Whatever is swapped out is slower than the disk that it would have been read from.
                memory_swap: config.limits.memory.map(|memory| memory.0 as i64),
                nano_cpus: config.limits.cpus.map(nano_cpus),
                shm_size: Some(ContainerConfig::SHARED_MEMORY_BYTES),
                // Safe, because a node starts read-write only on a grant: ARCHITECTURE.md, "The grant".
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::default().name(&config.name).build();
        let created = self.docker.create_container(Some(options), body).await;
        created.action(|| format!("create container \"{}\"", config.name)).map(drop)
    }

    /// Limits what a container may take, running or not.
    ///
    /// # Errors
    /// What the engine says, such as that the host has less.
    pub async fn limit_container(&self, name: &str, limits: Limits) -> Result<(), EngineError> {
        let memory = limits.memory.map(|memory| memory.0 as i64);
        let nano_cpus = limits.cpus.map(nano_cpus);
        let body = ContainerUpdateBody { memory, memory_swap: memory, nano_cpus, ..ContainerUpdateBody::default() };
        self.docker.update_container(name, body).await.action(|| format!("limit container \"{name}\" to {limits}"))
    }

    /// Starts a container, or leaves a running one alone.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn start_container(&self, name: &str) -> Result<(), EngineError> {
        self.docker.start_container(name, None).await.action(|| format!("start container \"{name}\""))
    }

    /// Stops a container by its stop signal, and returns when its process has ended.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn stop_container(&self, name: &str) -> Result<(), EngineError> {
        let options = StopContainerOptionsBuilder::default().t(ContainerConfig::STOP_TIMEOUT_SECONDS).build();
        self.docker.stop_container(name, Some(options)).await.action(|| format!("stop container \"{name}\""))
    }

    /// Stops a container and starts it again, also one between two starts of its restart policy.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn restart_container(&self, name: &str) -> Result<(), EngineError> {
        let options = RestartContainerOptionsBuilder::default().t(ContainerConfig::STOP_TIMEOUT_SECONDS).build();
        self.docker.restart_container(name, Some(options)).await.action(|| format!("restart container \"{name}\""))
    }

    /// Ends all processes of a container by SIGKILL. Its restart policy lets it rest.
    ///
    /// # Errors
    /// What the engine says, such as that it is not running.
    pub async fn kill_container(&self, name: &str) -> Result<(), EngineError> {
        let killed = self.docker.kill_container(name, None::<KillContainerOptions>).await;
        killed.action(|| format!("kill container \"{name}\""))
    }

    /// Freezes all processes of a container.
    ///
    /// On a host with cgroups of version 1 the engine gives up on one in which processes come and go, as those of a health
    /// check do, and lets it go on: it is asked again, a hundred times at most.
    ///
    /// # Errors
    /// What the engine says, such as that it is not running, or frozen already.
    pub async fn pause_container(&self, name: &str) -> Result<(), EngineError> {
        let pause =
            || async { self.docker.pause_container(name).await.action(|| format!("pause container \"{name}\"")) };
        let patience = ConstantBuilder::new().with_delay(Duration::from_millis(100)).with_max_times(100);
        pause.retry(patience).when(|error| error.names("unable to freeze")).await
    }

    /// Lets a frozen container go on.
    ///
    /// # Errors
    /// What the engine says, such as that it is not frozen.
    pub async fn unpause_container(&self, name: &str) -> Result<(), EngineError> {
        self.docker.unpause_container(name).await.action(|| format!("unpause container \"{name}\""))
    }

    /// Removes a container, running or not, with its anonymous volumes. Named volumes stay.
    ///
    /// # Errors
    /// What the engine says; a container that is not there is no error.
    pub async fn remove_container(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.docker.remove_container(name, Some(options)).await;
        match found(removed.action(|| format!("remove container \"{name}\""))) {
            // Somebody else is at it: what he has begun is as good, once it is done.
            Err(error) if error.is_conflict() => self.wait_until_gone(name, error).await,
            end => end.map(drop),
        }
    }

    async fn wait_until_gone(&self, name: &str, refusal: EngineError) -> Result<(), EngineError> {
        let deadline = Instant::now() + REMOVAL_TIMEOUT;
        while self.inspect_container(name).await?.is_some() {
            if Instant::now() > deadline {
                return Err(refusal);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The processor time of all that ever ran in a running container, user and system.
    ///
    /// # Errors
    /// What the engine says, such as that there is no such container, or that it does not count.
    pub async fn cpu_time(&self, name: &str) -> Result<Duration, EngineError> {
        let action = || format!("count the processor time of container \"{name}\"");
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let stats = pin!(self.docker.stats(name, Some(options))).next().await.transpose().action(action)?;
        let usage = stats.and_then(|stats| stats.cpu_stats?.cpu_usage?.total_usage);
        let silence = || EngineError::Broken { action: action(), message: "the engine does not tell".to_owned() };
        usage.map(Duration::from_nanos).ok_or_else(silence)
    }

    /// All containers, running or not, that carry `label` (`key` or `key=value`), sorted by name.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn list_containers(&self, label: &str) -> Result<Vec<ContainerSummary>, EngineError> {
        self.find_containers("label", label).await
    }

    /// All containers, running or not, that are attached to a network, sorted by name.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn containers_on(&self, network: &Network) -> Result<Vec<ContainerSummary>, EngineError> {
        self.find_containers("network", &network.id).await
    }

    /// All containers, running or not, that mount a volume of this name or a directory of the host by this path, sorted by name.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn containers_using(&self, source: &str) -> Result<Vec<ContainerSummary>, EngineError> {
        self.find_containers("volume", source).await
    }

    async fn find_containers(&self, key: &str, value: &str) -> Result<Vec<ContainerSummary>, EngineError> {
        let filters = HashMap::from([(key, vec![value])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed = self.docker.list_containers(Some(options)).await.action(|| "list containers".to_owned())?;
        let ids: Vec<String> = listed.into_iter().filter_map(|container| container.id).collect();
        let inspected = try_join_all(ids.iter().map(|id| self.inspect_container(id))).await?;
        let mut containers: Vec<ContainerSummary> = inspected.into_iter().flatten().collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(containers)
    }

    /// One container by name or identifier, whoever made it.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn inspect_container(&self, name: &str) -> Result<Option<ContainerSummary>, EngineError> {
        let inspected = self.docker.inspect_container(name, None).await;
        Ok(found(inspected.action(|| format!("inspect container \"{name}\"")))?.map(summary))
    }

    /// The log of a container, from its last `tail` lines (`None`: from the first) to its present end, or beyond.
    pub fn logs(
        &self,
        name: &str,
        tail: Option<u32>,
        follow: bool,
    ) -> impl Stream<Item = Result<ExecOutput, EngineError>> + use<> {
        let tail = tail.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(follow).tail(&tail).build();
        let name = name.to_owned();
        self.docker
            .logs(&name, Some(options))
            .map(move |line| line.map(ExecOutput::from).action(|| format!("read the log of container \"{name}\"")))
    }

    /// The last `lines` of a container's log as text, both streams in the order in which they came.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn log_tail(&self, name: &str, lines: u32) -> Result<String, EngineError> {
        let mut stream = pin!(self.logs(name, Some(lines), false));
        let mut text = Vec::new();
        while let Some(output) = stream.next().await {
            text.extend_from_slice(&Bytes::from(output?));
        }
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    }
}

fn nano_cpus(cpus: Cpus) -> i64 {
    i64::from(cpus.thousandths) * 1_000_000
}

/// Zero where there is none.
fn limits(of: &HostConfig) -> Limits {
    let above_zero =
        |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
    let thousandths = above_zero(of.nano_cpus).and_then(|nano| u32::try_from(nano / 1_000_000).ok());
    Limits { memory: above_zero(of.memory).map(ByteCount), cpus: thousandths.map(|thousandths| Cpus { thousandths }) }
}

fn summary(inspected: ContainerInspectResponse) -> ContainerSummary {
    let state = inspected.state.unwrap_or_default();
    let exit_code = state.exit_code.unwrap_or_default();
    let process = state.pid.filter(|pid| *pid != 0);
    let config = inspected.config.unwrap_or_default();
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let host_config = inspected.host_config.unwrap_or_default();
    let limits = limits(&host_config);
    let published = host_config
        .port_bindings
        .into_iter()
        .flat_map(HashMap::into_values)
        .flatten()
        .flatten()
        .find_map(|binding| binding.host_port?.parse().ok());
    let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
    let addresses = networks.into_values().flat_map(|network| [network.ip_address, network.global_ipv6_address]);
    ContainerSummary {
        name: inspected.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image_id: inspected.image.unwrap_or_default(),
        state: match state.status.map(|status| status.to_string()).as_deref() {
            Some("created") => ContainerState::Created,
            Some("paused") => ContainerState::Paused,
            Some("restarting") => ContainerState::Restarting { exit_code },
            Some("exited" | "dead" | "removing") => ContainerState::Exited { exit_code },
            _ => ContainerState::Running,
        },
        image: config.image.unwrap_or_default(),
        environment: config.env.unwrap_or_default().iter().filter_map(|e| e.split_once('=')).map(owned).collect(),
        labels: config.labels.unwrap_or_default(),
        published,
        limits,
        // Empty where there is none.
        addresses: addresses.flatten().filter_map(|address| address.parse().ok()).collect(),
        created: inspected.created.as_deref().and_then(Timestamp::parse_rfc3339),
        process,
    }
}
