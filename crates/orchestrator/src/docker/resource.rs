//! Networks and volumes.

use std::{collections::HashMap, net::IpAddr};

use bollard::{
    models::{self, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, VolumeCreateRequest},
    query_parameters::{ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions},
};
use pgherd_images::date::Timestamp;

use super::{Action, Engine, EngineError, found};

/// The labels of each volume by its name, which is its key.
pub type Labelled = HashMap<String, HashMap<String, String>>;

/// A network. Its name is no key: an engine can have two of the same, if two clients are fast enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// The key.
    pub id: String,
    /// What containers call it.
    pub name: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// The key.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: HashMap<String, String>,
    /// When it was made.
    pub(crate) created: Option<Timestamp>,
}

impl Engine {
    /// Creates a bridge network.
    ///
    /// # Errors
    /// What the engine says, such as that its address pools are exhausted. A second network of the same name is one, too,
    /// on engines that do not count the name as a key.
    pub async fn create_network(&self, name: &str, labels: HashMap<String, String>) -> Result<(), EngineError> {
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels),
            ..NetworkCreateRequest::default()
        };
        self.docker.create_network(request).await.action(|| format!("create network \"{name}\"")).map(drop)
    }

    /// Has a container join a network, running or not. One that is on it already stays so.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn connect_container(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: None };
        let connected = self.docker.connect_network(network, request).await;
        match connected.action(|| format!("connect container \"{container}\" to network \"{network}\"")) {
            // It has no status of its own for that.
            Err(error) if error.names("already exists in network") => Ok(()),
            end => end,
        }
    }

    /// The networks of a container, whoever made it, and its address on each, where it has one.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn attachments(&self, container: &str) -> Result<Option<Vec<(String, Option<IpAddr>)>>, EngineError> {
        let inspected = self.docker.inspect_container(container, None).await;
        let inspected = found(inspected.action(|| format!("inspect container \"{container}\"")))?;
        Ok(inspected.map(|inspected| {
            let networks = inspected.network_settings.and_then(|settings| settings.networks).unwrap_or_default();
            let address = |endpoint: models::EndpointSettings| endpoint.ip_address?.parse().ok();
            let mut attachments: Vec<_> = networks.into_iter().map(|(name, it)| (name, address(it))).collect();
            attachments.sort();
            attachments
        }))
    }

    /// Cuts a container off a network, running or not.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn disconnect(&self, network: &str, container: &str) -> Result<(), EngineError> {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let action = || format!("disconnect container \"{container}\" from network \"{network}\"");
        self.docker.disconnect_network(network, request).await.action(action)
    }

    /// Removes a network that no container uses. One that is not there is no error.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn remove_network(&self, network: &Network) -> Result<(), EngineError> {
        let removed = self.docker.remove_network(&network.id).await;
        found(removed.action(|| format!("remove network \"{}\"", network.name))).map(drop)
    }

    /// All networks that carry `label` (`key` or `key=value`), sorted by name and identifier.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn list_networks(&self, label: &str) -> Result<Vec<Network>, EngineError> {
        self.find_networks("label", label).await
    }

    /// All networks of this name, whoever made them.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn networks_named(&self, name: &str) -> Result<Vec<Network>, EngineError> {
        // The engine's filter takes parts of names, too.
        Ok(self.find_networks("name", name).await?.into_iter().filter(|network| network.name == name).collect())
    }

    async fn find_networks(&self, key: &str, value: &str) -> Result<Vec<Network>, EngineError> {
        let filters = HashMap::from([(key, vec![value])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker.list_networks(Some(options)).await.action(|| "list networks".to_owned())?;
        let network = |n: models::Network| {
            let created = n.created.as_deref().and_then(Timestamp::parse_rfc3339);
            Some(Network { id: n.id?, name: n.name?, labels: n.labels.unwrap_or_default(), created })
        };
        let mut networks: Vec<Network> = listed.into_iter().filter_map(network).collect();
        networks.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(networks)
    }

    /// Creates a named volume of the engine's own driver, and returns its labels. Where one of that name is there already,
    /// it stays as it is, and so do its labels.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn create_volume(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<HashMap<String, String>, EngineError> {
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..VolumeCreateRequest::default() };
        let created = self.docker.create_volume(request).await;
        created.action(|| format!("create volume \"{name}\"")).map(|volume| volume.labels)
    }

    /// Creates a named volume that is the ext4 file system on a block device of the engine's host. The device has to be there
    /// whenever a container uses the volume, not before. A volume of that name that is there already stays as it is.
    ///
    /// <https://docs.docker.com/reference/cli/docker/volume/create/#opt>
    ///
    /// # Errors
    /// What the engine says.
    pub async fn create_volume_on_device(
        &self,
        name: &str,
        device: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), EngineError> {
        self.create_volume_with(name, &[("type", "ext4")], device, labels).await
    }

    /// Creates a named volume that is a directory of the engine's host, which has to be there whenever a container uses the volume. A volume
    /// of that name that is there already stays as it is. The directory outlives it.
    ///
    /// <https://docs.docker.com/reference/cli/docker/volume/create/#opt>
    ///
    /// # Errors
    /// What the engine says.
    pub async fn create_volume_in_directory(
        &self,
        name: &str,
        directory: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), EngineError> {
        self.create_volume_with(name, &[("type", "none"), ("o", "bind")], directory, labels).await
    }

    async fn create_volume_with(
        &self,
        name: &str,
        options: &[(&str, &str)],
        device: &str,
        labels: HashMap<String, String>,
    ) -> Result<(), EngineError> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels),
            driver_opts: Some(
                options.iter().chain([&("device", device)]).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ),
            ..VolumeCreateRequest::default()
        };
        let created = self.docker.create_volume(request).await;
        created.action(|| format!("create volume \"{name}\" on \"{device}\"")).map(drop)
    }

    /// Removes a volume and all that is on it. One that is not there is no error.
    ///
    /// # Errors
    /// What the engine says, such as that a container uses it.
    pub async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_volume(name, None::<RemoveVolumeOptions>).await;
        found(removed.action(|| format!("remove volume \"{name}\""))).map(drop)
    }

    /// All volumes that carry `label` (`key` or `key=value`).
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn list_volumes(&self, label: &str) -> Result<Labelled, EngineError> {
        Ok(self.volumes(label).await?.into_iter().map(|volume| (volume.name, volume.labels)).collect())
    }

    /// The same with all that is known of each.
    pub(crate) async fn volumes(&self, label: &str) -> Result<Vec<Volume>, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker.list_volumes(Some(options)).await.action(|| "list volumes".to_owned())?;
        let volume = |v: models::Volume| {
            let created = v.created_at.as_deref().and_then(Timestamp::parse_rfc3339);
            Volume { name: v.name, labels: v.labels, created }
        };
        Ok(listed.volumes.unwrap_or_default().into_iter().map(volume).collect())
    }

    /// The labels of the volume of this name, whoever made it.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn inspect_volume(&self, name: &str) -> Result<Option<HashMap<String, String>>, EngineError> {
        let inspected = self.docker.inspect_volume(name).await;
        Ok(found(inspected.action(|| format!("inspect volume \"{name}\"")))?.map(|volume| volume.labels))
    }
}
