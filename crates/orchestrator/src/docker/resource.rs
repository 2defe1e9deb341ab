//! Networks and volumes.

use std::collections::HashMap;

use bollard::{
    models::{NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveVolumeOptions},
};

use super::{Action, Engine, EngineError, found};

/// The labels of each thing by its name.
pub type Labelled = HashMap<String, HashMap<String, String>>;

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

    /// Removes a network that no container uses. One that is not there is no error.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let removed = self.docker.remove_network(name).await;
        found(removed.action(|| format!("remove network \"{name}\""))).map(drop)
    }

    /// All networks that carry `label` (`key` or `key=value`).
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn list_networks(&self, label: &str) -> Result<Labelled, EngineError> {
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker.list_networks(Some(options)).await.action(|| "list networks".to_owned())?;
        Ok(listed.into_iter().filter_map(|n| Some((n.name?, n.labels.unwrap_or_default()))).collect())
    }

    /// The labels of the network of this name, whoever made it.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn inspect_network(&self, name: &str) -> Result<Option<HashMap<String, String>>, EngineError> {
        let inspected = self.docker.inspect_network(name, None).await;
        let network = found(inspected.action(|| format!("inspect network \"{name}\"")))?;
        Ok(network.map(|network| network.labels.unwrap_or_default()))
    }

    /// Creates a named volume of the engine's own driver.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn create_volume(&self, name: &str, labels: HashMap<String, String>) -> Result<(), EngineError> {
        let request =
            VolumeCreateRequest { name: Some(name.to_owned()), labels: Some(labels), ..VolumeCreateRequest::default() };
        self.docker.create_volume(request).await.action(|| format!("create volume \"{name}\"")).map(drop)
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
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker.list_volumes(Some(options)).await.action(|| "list volumes".to_owned())?;
        Ok(listed.volumes.unwrap_or_default().into_iter().map(|v| (v.name, v.labels)).collect())
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
