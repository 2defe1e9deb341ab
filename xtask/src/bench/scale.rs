//! `bench scale`: what it takes the orchestrator to make clusters of more and more replicas, and to see that nothing is to be done.

use std::{
    iter::successors,
    time::{Duration, Instant},
};

use pgherd_orchestrator::{ClusterSpec, Engine, Inventory, reconcile};

use super::{figures::Figures, own};
use crate::{ground::Ground, output};

/// Far more than the largest takes.
const LIMIT: Duration = Duration::from_secs(1800);

const QUANTITIES: [&str; 3] = ["wall time", "our CPU", "our memory at its peak"];

pub(super) async fn measure(ground: &Ground, most: u16) -> anyhow::Result<Figures> {
    let engine = &ground.engine;
    let mut figures = Figures::of(
        "from nothing until all replicas stream, and once more when they do; CPU and memory are those of this process alone",
    );
    let sizes: Vec<u16> = successors(Some(1), |size| Some(size * 2)).take_while(|size| *size <= most).collect();
    for size in &sizes {
        let spec = ground.cluster(&format!("scale-{size}-replicas"), *size)?;
        let made = Cost::of(engine, &spec).await?;
        let again = Cost::of(engine, &spec).await?;
        output::note(format_args!("{}: {:.1} s, and {:.1} s once more", made_of(*size), made.wall, again.wall));
        made.tell(&made_of(*size), &mut figures);
        again.tell(&again_of(*size), &mut figures);
        ground.put_aside(&again.observed).await?;
    }
    for pair in sizes.windows(2) {
        for (one, other) in [(made_of(pair[1]), made_of(pair[0])), (again_of(pair[1]), again_of(pair[0]))] {
            for quantity in QUANTITIES {
                figures.compare(&format!("{one}: {quantity}"), &format!("{other}: {quantity}"));
            }
        }
    }
    Ok(figures)
}

fn made_of(replicas: u16) -> String {
    format!("{replicas} replicas made")
}

fn again_of(replicas: u16) -> String {
    format!("{replicas} replicas, nothing to do")
}

/// What one call has taken.
struct Cost {
    observed: Inventory,
    /// In seconds, both.
    wall: f64,
    cpu: f64,
    peak_megabytes: f64,
}

impl Cost {
    async fn of(engine: &Engine, spec: &ClusterSpec) -> anyhow::Result<Cost> {
        own::forget_peak()?;
        let (begin, cpu) = (Instant::now(), own::cpu());
        let (observed, _) = reconcile(engine, spec, LIMIT, |_| ()).await?;
        Ok(Cost {
            observed,
            wall: begin.elapsed().as_secs_f64(),
            cpu: (own::cpu() - cpu).as_secs_f64(),
            peak_megabytes: own::peak_megabytes()?,
        })
    }

    fn tell(&self, name: &str, figures: &mut Figures) {
        let values = [("s", self.wall), ("ms", self.cpu * 1000.0), ("MB", self.peak_megabytes)];
        for (quantity, (unit, value)) in QUANTITIES.iter().zip(values) {
            figures.add(format!("{name}: {quantity}"), unit, value);
        }
    }
}
