//! Images as one tar that every engine loads: `manifest.json`, configurations and layers.
//!
//! <https://github.com/moby/docker-image-spec/blob/main/v1.2.md#combined-image-json--filesystem-changeset-format>

use std::{collections::BTreeMap, io};

use serde::Serialize;

use crate::{digest::Digest, image::Image};

/// The tar of some images. Layers that they share are in it once.
///
/// # Errors
///
/// When it does not fit into memory as a tar can hold it.
pub fn docker_archive(images: &[Image], layers: &BTreeMap<Digest, Vec<u8>>) -> io::Result<Vec<u8>> {
    let size: usize = layers.values().map(Vec::len).sum();
    let mut tar = tar::Builder::new(Vec::with_capacity(size + 64 * 1024));
    for (digest, layer) in layers {
        append(&mut tar, &layer_path(digest), layer)?;
    }
    for image in images {
        append(&mut tar, &config_path(image), &image.config)?;
    }
    let manifest: Vec<Manifest> = images
        .iter()
        .map(|image| Manifest {
            config: config_path(image),
            repo_tags: [&image.tag],
            layers: image.layers.iter().map(layer_path).collect(),
        })
        .collect();
    append(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?)?;
    tar.into_inner()
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest<'a> {
    config: String,
    repo_tags: [&'a str; 1],
    layers: Vec<String>,
}

fn layer_path(digest: &Digest) -> String {
    format!("{digest}/layer.tar")
}

fn config_path(image: &Image) -> String {
    format!("{}.json", image.id())
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, path, content)
}
