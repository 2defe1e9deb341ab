//! Images: what is there, and loading what is not.

use std::collections::HashMap;

use bollard::{
    models::ImageInspect,
    query_parameters::{ImportImageOptionsBuilder, RemoveImageOptions},
};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{Action, Engine, EngineError, found};

/// What it takes to build on an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// The digests of its layers, `sha256:…`, from the lowest.
    pub layers: Vec<String>,
    /// Its environment, `NAME=value`.
    pub env: Vec<String>,
    /// When it was made, if the engine knows.
    pub created: Option<String>,
}

impl Engine {
    async fn inspect_image(&self, tag: &str) -> Result<Option<ImageInspect>, EngineError> {
        found(self.docker.inspect_image(tag).await.action(|| format!("inspect image \"{tag}\"")))
    }

    /// The labels of an image, or `None` where there is no such image.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn image_labels(&self, tag: &str) -> Result<Option<HashMap<String, String>>, EngineError> {
        let image = self.inspect_image(tag).await?;
        Ok(image.map(|image| image.config.and_then(|config| config.labels).unwrap_or_default()))
    }

    /// What it takes to build on an image, or `None` where there is no such image. None is pulled.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn image_facts(&self, tag: &str) -> Result<Option<ImageFacts>, EngineError> {
        Ok(self.inspect_image(tag).await?.map(|image| ImageFacts {
            layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
            env: image.config.and_then(|config| config.env).unwrap_or_default(),
            created: image.created,
        }))
    }

    /// The size of an image in bytes, unpacked, or `None` where there is no such image.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn image_size(&self, tag: &str) -> Result<Option<u64>, EngineError> {
        Ok(self.inspect_image(tag).await?.and_then(|image| image.size).and_then(|size| size.try_into().ok()))
    }

    /// The identifier of an image, `sha256:…`, or `None` where there is no such image.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn image_id(&self, tag: &str) -> Result<Option<String>, EngineError> {
        Ok(self.inspect_image(tag).await?.and_then(|image| image.id))
    }

    /// Loads an image archive, as `docker load` does.
    ///
    /// # Errors
    /// What the engine says of the archive. Whether the image is there afterwards is for the caller to check: the
    /// progress stream of some engines ends in the middle of a line.
    pub async fn load_image(&self, archive: Bytes) -> Result<(), EngineError> {
        let options = ImportImageOptionsBuilder::default().quiet(true).build();
        let mut progress = self.docker.import_image(options, bollard::body_full(archive), None);
        while let Some(message) = progress.next().await {
            message.action(|| "load an image archive".to_owned())?;
        }
        Ok(())
    }

    /// Removes an image that has lost its last name, unless a container uses it.
    ///
    /// # Errors
    /// If the engine cannot be asked.
    pub async fn remove_nameless_image(&self, id: &str) -> Result<(), EngineError> {
        // Asked to remove an image by its identifier, the engine would take a last name along with it.
        if self.inspect_image(id).await?.is_none_or(|image| image.repo_tags.is_some_and(|tags| !tags.is_empty())) {
            return Ok(());
        }
        let removed = self.docker.remove_image(id, None::<RemoveImageOptions>, None).await;
        match found(removed.action(|| format!("remove image \"{id}\""))) {
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}
