//! `cargo xtask bench`: how long it takes, beside how long the article's recipe takes.

mod article;
mod ours;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use pgherd_images::release::PostgresMajor;
use pgherd_orchestrator::{Engine, Owner};
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::{
    images,
    output::{self, Format, FormatArg},
};

/// Both make a primary and this many replicas.
const REPLICAS: u16 = 2;

/// Far more than either takes.
const LIMIT: Duration = Duration::from_secs(120);

/// Measures pgherd against the recipe that it began with
#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// From nothing to a primary and two streaming replicas, in turn with the article's two scripts on the same PostgreSQL
    Up {
        /// How often each is measured
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
        rounds: u16,
        #[command(flatten)]
        format: FormatArg,
    },
}

/// Seconds from nothing to two streaming replicas.
#[derive(Debug, Serialize)]
struct Comparison {
    /// The median of the article's recipe.
    article_s: f64,
    /// The median of pgherd.
    ours_s: f64,
    /// How many times faster pgherd is.
    ratio: f64,
    /// All values of the article's recipe, in the order of measurement.
    article_all_s: Vec<f64>,
    /// All values of pgherd, in the order of measurement.
    ours_all_s: Vec<f64>,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let Subject::Up { rounds, format } = &args.subject;
    let runtime = Runtime::new()?;
    let engine = runtime.block_on(Engine::connect())?;
    let image = runtime.block_on(images::ensure(&engine, PostgresMajor::DEFAULT))?;
    let article = article::Recipe::ready(PostgresMajor::DEFAULT)?;
    let owner = Owner::of_this_process();

    let mut comparison =
        Comparison { article_s: 0.0, ours_s: 0.0, ratio: 0.0, article_all_s: vec![], ours_all_s: vec![] };
    let measured = (1..=*rounds).try_for_each(|round| {
        let article_s = article.measure(round)?;
        let ours_s = runtime.block_on(ours::measure(&engine, &image, round))?;
        output::note(format_args!("round {round} of {rounds}: article {article_s:.2} s, pgherd {ours_s:.2} s"));
        comparison.article_all_s.push(article_s);
        comparison.ours_all_s.push(ours_s);
        Ok(())
    });
    // Not after each round: ext4 passes over every inode that was deleted in the last minutes, one by one, before it makes a
    // file, and a few thousand deletions would slow down all that is measured after them.
    runtime.block_on(pgherd_orchestrator::remove_all_of(&engine, &owner))?;
    measured.and_then(|()| print(comparison.with_medians(), format.format))
}

impl Comparison {
    fn with_medians(self) -> Comparison {
        let (article_s, ours_s) = (median(&self.article_all_s), median(&self.ours_all_s));
        Comparison { article_s, ours_s, ratio: article_s / ours_s, ..self }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn print(comparison: Comparison, format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json(&comparison)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Comparison { article_s, ours_s, ratio, article_all_s, ours_all_s } = comparison;
    let values = |all: Vec<f64>| all.iter().map(|value| format!("{value:>7.2}")).collect::<String>();
    output::line(format_args!(
        "seconds from nothing to {REPLICAS} streaming replicas\n\
         {:<10}{:>8}  ALL\n\
         {:<10}{article_s:>8.2} {}\n\
         {:<10}{ours_s:>8.2} {}\n\
         {:<10}{ratio:>8.2}",
        "",
        "MEDIAN",
        "article",
        values(article_all_s),
        "pgherd",
        values(ours_all_s),
        "ratio"
    ))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }
}
