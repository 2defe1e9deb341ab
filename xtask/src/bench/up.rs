//! `bench up`: a cluster's birth, beside the article's recipe.

mod article;
mod ours;

use std::time::Duration;

use pgherd_images::release::PostgresMajor;
use tokio::task::block_in_place;

use super::{Ground, figures::Figures};
use crate::output;

/// Both make a primary and this many replicas.
const REPLICAS: u16 = 2;

/// Far more than either takes.
const LIMIT: Duration = Duration::from_secs(120);

pub(super) async fn measure(ground: &Ground, rounds: u16) -> anyhow::Result<Figures> {
    let article = block_in_place(|| article::Recipe::ready(PostgresMajor::DEFAULT))?;
    let mut figures = Figures::of(format!("from nothing to {REPLICAS} streaming replicas"));
    for round in 1..=rounds {
        let article = block_in_place(|| article.measure(round))?;
        let ours = ours::measure(ground, round).await?;
        output::note(format_args!("round {round} of {rounds}: article {article:.2} s, pgherd {ours:.2} s"));
        figures.add("article", "s", article);
        figures.add("pgherd", "s", ours);
    }
    figures.compare("article", "pgherd");
    Ok(figures)
}
