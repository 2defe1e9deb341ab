//! The agent that goes into images: a static binary, since an image has the libraries of another system.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use pgherd_images::{elf, release::Architecture};
use serde::Deserialize;
use xshell::{Shell, cmd};

/// Compiles the agent for that architecture, and returns the binary.
pub(super) fn build(architecture: &Architecture) -> Result<Vec<u8>> {
    let sh = Shell::new()?;
    sh.change_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let (target, flags) = target(&sh, architecture)?;
    let command = cmd!(
        sh,
        "{cargo} build --quiet --release --package pgherd-agent --bin pgherd-agent --target {target} --message-format json-render-diagnostics"
    );
    // An explicit target keeps the flags away from procedural macros, which cannot be static.
    let messages = command.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS").quiet().read()?;
    let built = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let path = built.filter_map(|message| message.executable).next_back().context("cargo names no pgherd-agent")?;
    let binary = fs::read(&path).with_context(|| format!("could not read {path}"))?;
    let dynamic = elf::names_interpreter(&binary).with_context(|| format!("cannot use {path}"))?;
    ensure!(!dynamic, "cannot use {path}: it is linked dynamically, and images have other libraries than this host");
    Ok(binary)
}

/// The parts of cargo's messages that matter here: <https://doc.rust-lang.org/cargo/reference/external-tools.html>.
#[derive(Deserialize)]
struct Message {
    executable: Option<String>,
}

/// The target to compile for and the flags that make it static: musl where that is installed, else glibc.
fn target(sh: &Shell, architecture: &Architecture) -> Result<(String, &'static str)> {
    let sysroot = cmd!(sh, "rustc --print sysroot").quiet().read()?;
    let arch = architecture.rust();
    for (environment, flags) in [("musl", ""), ("gnu", "-C target-feature=+crt-static")] {
        let target = format!("{arch}-unknown-linux-{environment}");
        if Path::new(&sysroot).join("lib/rustlib").join(&target).is_dir() {
            return Ok((target, flags));
        }
    }
    bail!(
        "no Rust target for the engine's architecture is installed\nhint: rustup target add {arch}-unknown-linux-musl"
    )
}
