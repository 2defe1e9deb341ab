//! A cluster as a Compose file, which makes one like it out of the images alone.
//!
//! <https://docs.docker.com/reference/compose-file/>

use std::fmt::{self, Write};

use pgherd_agent::NodeSpec;
use pgherd_images::contract::{self, environment};

use crate::{ContainerConfig, Inventory, NodeInventory, Storage};

/// Writes down the nodes of a cluster that is there: what each is asked to be, where its data are, its port and its limits. Secrets are none
/// of it, and neither are data: whoever runs the file makes a new cluster.
///
/// A node of which nobody knows what it is asked to be is left out.
#[must_use]
pub fn compose(observed: &Inventory) -> String {
    let mut text = String::new();
    write(observed, &mut text).expect("writing to memory cannot fail");
    text
}

fn write(observed: &Inventory, text: &mut String) -> fmt::Result {
    let nodes: Vec<(String, &NodeInventory, &NodeSpec)> = observed
        .nodes
        .iter()
        .filter_map(|(number, node)| Some((observed.node_name(*number).to_string(), node, node.spec.as_ref()?)))
        .collect();
    let primary = observed.node_name(observed.primary().unwrap_or(1));
    writeln!(
        text,
        "# Cluster \"{}\", without pgherd: \"docker compose up --wait\" makes a new one like it.",
        observed.name
    )?;
    writeln!(
        text,
        "# The application's password: docker compose exec {primary} cat {}/app-password",
        contract::SECRETS
    )?;
    writeln!(text, "services:")?;
    for (name, node, spec) in &nodes {
        service(name, node, spec, text)?;
    }
    writeln!(text, "volumes:")?;
    for (name, ..) in &nodes {
        writeln!(text, "  {name}: {{}}")?;
    }
    writeln!(text, "  secrets: {{}}")
}

fn service(name: &str, node: &NodeInventory, spec: &NodeSpec, text: &mut String) -> fmt::Result {
    let major = node.major.unwrap_or_default();
    // What one that is there may lose, a new one does not have; and those that it was born with may be gone.
    let spec = NodeSpec { rewind_to_new_upstream: false, clone_from: None, ..spec.clone() };
    let json = serde_json::to_string(&spec).expect("a specification is serializable");
    let seconds = ContainerConfig::STOP_TIMEOUT_SECONDS;
    writeln!(text, "  {name}:")?;
    writeln!(text, "    image: {}", quote(&contract::node_image(major)))?;
    writeln!(text, "    hostname: {}", quote(name))?;
    writeln!(text, "    environment:")?;
    writeln!(text, "      {}: {}", environment::SPEC, quote(&json))?;
    writeln!(text, "      {}: \"{seconds}\"", environment::STOP_SECONDS)?;
    writeln!(text, "    volumes:")?;
    let (source, target) = match &node.storage {
        // Directories of the host are those of the cluster that is there.
        Storage::Volumes | Storage::Directory(_) => (name.to_owned(), contract::NODE_VOLUME.to_owned()),
        Storage::Memory => (name.to_owned(), contract::control_directory(major)),
    };
    writeln!(text, "      - {}", quote(&format!("{source}:{target}")))?;
    writeln!(text, "      - {}", quote(&format!("secrets:{}", contract::SECRETS)))?;
    if node.storage == Storage::Memory {
        let (path, options) = ContainerConfig::data_in_memory(major);
        writeln!(text, "    tmpfs: {}", quote(&format!("{path}:{options}")))?;
    }
    if let Some(port) = node.published {
        writeln!(text, "    ports: [\"127.0.0.1:{port}:{}\"]", contract::PORT)?;
    }
    if let Some(memory) = node.limits.memory {
        writeln!(text, "    mem_limit: {}", memory.0)?;
        writeln!(text, "    memswap_limit: {}", memory.0)?;
    }
    if let Some(cpus) = node.limits.cpus {
        writeln!(text, "    cpus: {cpus}")?;
    }
    writeln!(text, "    shm_size: {}", ContainerConfig::SHARED_MEMORY_BYTES)?;
    writeln!(text, "    stop_grace_period: {seconds}s")?;
    writeln!(text, "    restart: unless-stopped")
}

/// A YAML scalar, in which Compose replaces no variable.
fn quote(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''").replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn nothing_is_replaced_in_what_is_quoted() {
        assert_eq!(quote("it's $5"), "'it''s $$5'");
    }
}
