//! An image: the configuration that names its layers, and whose digest is its name.
//!
//! <https://github.com/moby/docker-image-spec/blob/main/spec.md>

use std::{collections::BTreeMap, iter};

use serde::Serialize;

use crate::{
    date::Timestamp,
    definition::{Config, Healthcheck},
    digest::Digest,
    release::Architecture,
};

/// An image under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name, `repository/name:tag`.
    pub tag: String,
    /// Its configuration, JSON.
    pub config: Vec<u8>,
    /// The digests of its layers, from the lowest.
    pub layers: Vec<Digest>,
}

impl Image {
    /// The image's ID.
    #[must_use]
    pub fn id(&self) -> Digest {
        Digest::of(&self.config)
    }
}

/// What an image's configuration says, whatever its names.
#[derive(Debug)]
pub struct Description<'a> {
    /// The engine's architecture.
    pub architecture: &'a Architecture,
    /// When it was made: the time of its newest file.
    pub created: Timestamp,
    /// How it runs.
    pub config: &'a Config,
    /// Each layer's digest, with what it holds.
    pub layers: &'a [(Digest, String)],
}

impl Description<'_> {
    /// The image of that name, with the environment that only this name has.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be JSON.
    pub fn image(&self, tag: &str, env: &BTreeMap<String, String>) -> serde_json::Result<Image> {
        let mut variables = self.config.env.clone();
        variables.extend(env.clone());
        let nothing = BTreeMap::new();
        let created = self.created.to_string();
        let json = Json {
            architecture: self.architecture.docker(),
            config: JsonConfig {
                user: self.config.user.as_deref().unwrap_or_default(),
                exposed_ports: self.config.ports.iter().map(|port| (&**port, &nothing)).collect(),
                entrypoint: self.config.entrypoint.as_deref().unwrap_or_default(),
                volumes: self.config.volumes.iter().map(|path| (&**path, &nothing)).collect(),
                env: variables.iter().map(|(name, value)| format!("{name}={value}")).collect(),
                cmd: self.config.cmd.as_deref().unwrap_or_default(),
                working_dir: self.config.working_directory.as_deref().unwrap_or("/"),
                healthcheck: self.config.healthcheck.as_ref().map(JsonHealthcheck::of),
                labels: &self.config.labels,
                stop_signal: self.config.stop_signal.as_deref().unwrap_or("SIGTERM"),
            },
            created: &created,
            history: self
                .layers
                .iter()
                .map(|(_, holds)| JsonHistory { created: &created, created_by: holds })
                .collect(),
            os: "linux",
            rootfs: JsonRoot {
                diff_ids: self.layers.iter().map(|(digest, _)| format!("sha256:{digest}")).collect(),
                kind: "layers",
            },
        };
        let config = serde_json::to_vec(&json)?;
        Ok(Image { tag: tag.to_owned(), config, layers: self.layers.iter().map(|(digest, _)| *digest).collect() })
    }
}

#[derive(Serialize)]
struct Json<'a> {
    architecture: &'a str,
    config: JsonConfig<'a>,
    created: &'a str,
    history: Vec<JsonHistory<'a>>,
    os: &'a str,
    rootfs: JsonRoot,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonConfig<'a> {
    user: &'a str,
    exposed_ports: BTreeMap<&'a str, &'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<&'a str, &'a BTreeMap<String, String>>,
    env: Vec<String>,
    cmd: &'a [String],
    working_dir: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthcheck: Option<JsonHealthcheck<'a>>,
    labels: &'a BTreeMap<String, String>,
    stop_signal: &'a str,
}

/// Durations are in nanoseconds.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonHealthcheck<'a> {
    test: Vec<&'a str>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
}

impl JsonHealthcheck<'_> {
    fn of(check: &Healthcheck) -> JsonHealthcheck<'_> {
        let nanoseconds = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        JsonHealthcheck {
            test: iter::once("CMD").chain(check.cmd.iter().map(String::as_str)).collect(),
            interval: nanoseconds(check.interval_seconds),
            timeout: nanoseconds(check.timeout_seconds),
            start_period: nanoseconds(check.start_period_seconds),
            start_interval: nanoseconds(check.start_interval_seconds),
            retries: check.retries,
        }
    }
}

#[derive(Serialize)]
struct JsonHistory<'a> {
    created: &'a str,
    created_by: &'a str,
}

#[derive(Serialize)]
struct JsonRoot {
    diff_ids: Vec<String>,
    #[serde(rename = "type")]
    kind: &'static str,
}
