//! Commands beside a node, in helper containers of the toolbox image.

use std::collections::HashMap;

use pgherd_images::contract::{TOOLBOX_IMAGE, labels};

use crate::{Engine, EngineError, Helper, NodeName, Owner};

/// A helper that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The helper's word.
    #[error("could not {action} (exit code {exit_code}): {output}")]
    Failed {
        /// What it was about to do, as an infinitive.
        action: String,
        /// How it ended.
        exit_code: i64,
        /// What it wrote.
        output: String,
    },
    /// There are no helpers.
    #[error(
        "could not {action}: image \"{TOOLBOX_IMAGE}\" is missing\nhint: \"cargo xtask images toolbox\" builds it."
    )]
    NoToolbox {
        /// What it would have done, as an infinitive.
        action: String,
    },
}

/// Runs a script in a helper, and returns what it wrote. `settings` say what the helper may do, and `of_node` are the labels
/// of something of the node.
///
/// # Errors
/// See [`HelperError`].
pub(crate) async fn run_script(
    engine: &Engine,
    node: &NodeName,
    of_node: &HashMap<String, String>,
    script: &str,
    settings: Helper,
) -> Result<String, HelperError> {
    remove_left(engine, node).await?;
    let action = settings.action.clone();
    let helper = Helper {
        image: TOOLBOX_IMAGE.to_owned(),
        command: ["sh", "-euc", script].map(str::to_owned).into(),
        labels: labels_of(node, of_node),
        ..settings
    };
    match engine.run_helper(helper).await {
        Ok(end) if end.exit_code == 0 => Ok(end.output),
        Ok(end) => Err(HelperError::Failed { action, exit_code: end.exit_code, output: end.output }),
        // It may be about another thing: a volume, a network, the helper itself.
        Err(error) if error.is_not_found() && engine.image_id(TOOLBOX_IMAGE).await?.is_none() => {
            Err(HelperError::NoToolbox { action })
        }
        Err(error) => Err(error.into()),
    }
}

/// A helper belongs to the cluster, and is none of its nodes.
pub(crate) fn labels_of(node: &NodeName, of_node: &HashMap<String, String>) -> HashMap<String, String> {
    let shared = |key: &str| Some((key.to_owned(), of_node.get(key)?.clone()));
    let whose = [labels::CLUSTER, labels::OWNER].into_iter().filter_map(shared);
    let holder = Owner::of_this_process().to_string();
    whose.chain([(labels::HELPER.to_owned(), node.to_string()), (labels::HOLDER.to_owned(), holder)]).collect()
}

/// A helper whose starter was killed keeps the node's volumes from being removed.
pub(crate) async fn remove_left(engine: &Engine, node: &NodeName) -> Result<(), EngineError> {
    for helper in engine.list_containers(&format!("{}={node}", labels::HELPER)).await? {
        if !is_at_work(&helper.labels) {
            engine.remove_container(&helper.name).await?;
        }
    }
    Ok(())
}

/// Whether these are the labels of a helper for whose end somebody waits. He may be another than the owner of the node, as in a
/// sweep.
pub(crate) fn is_at_work(labels: &HashMap<String, String>) -> bool {
    let holder = labels.get(labels::HOLDER).and_then(|holder| holder.parse::<Owner>().ok());
    labels.contains_key(labels::HELPER) && holder.is_some_and(|holder| holder.is_alive())
}
