//! Asking one server, again and again, over a connection that is kept.

use std::{error::Error, iter, mem, time::Duration};

use pgherd_probe::{NodeStatus, Observed, Probe, Reach, connect};
use tokio::time::timeout;

use crate::target::Target;

/// One server.
pub(crate) struct Prober {
    target: Target,
    limit: Duration,
    probe: Option<Probe>,
    /// What is to be told beside the verdict, and what was told last.
    remarks: Vec<String>,
    told: Vec<String>,
}

impl Prober {
    pub(crate) fn new(target: Target, limit: Duration) -> Prober {
        let target = Target { conninfo: target.conninfo.or_timeout(limit), ..target };
        Prober { target, limit, probe: None, remarks: Vec::new(), told: Vec::new() }
    }

    /// What is new since the last time.
    pub(crate) fn take_remarks(&mut self) -> Vec<String> {
        let remarks = mem::take(&mut self.remarks);
        let new = remarks.iter().filter(|remark| !self.told.contains(remark)).cloned().collect();
        self.told = remarks;
        new
    }

    pub(crate) async fn observe(&mut self) -> Observed {
        let reach = match self.ask().await {
            Ok(status) => Reach::Answered(Box::new(status)),
            Err(reach) => {
                // Whatever is wrong with it, the next one may be better.
                self.probe = None;
                reach
            }
        };
        Observed { node: self.name(&reach), expected_upstream: None, reach }
    }

    /// One server without a name has the one that it gives itself.
    fn name(&self, reach: &Reach) -> String {
        let own = match reach {
            Reach::Answered(status) => Some(status.cluster_name.clone()).filter(|name| !name.is_empty()),
            _ => None,
        };
        let host = || self.target.conninfo.servers()[0].host.clone();
        self.target.name.clone().or(own).unwrap_or_else(host)
    }

    async fn ask(&mut self) -> Result<NodeStatus, Reach> {
        let probe = match self.probe.take() {
            Some(probe) => probe,
            None => self.connect().await?,
        };
        let late =
            || Reach::Unreachable { reason: format!("no answer to a query within {} s", self.limit.as_secs_f64()) };
        let asked = async {
            let status = probe.observe().await.map_err(|error| with_causes(&error))?;
            let rights = "SELECT pg_has_role('pg_monitor', 'usage')";
            let row = probe.client().query_typed_one(rights, &[]).await.map_err(|error| with_causes(&error))?;
            Ok::<_, String>((status, row.get::<_, bool>(0)))
        };
        let (status, may_see_all) = match timeout(self.limit, asked).await {
            Err(_) => return Err(late()),
            Ok(Err(reason)) => return Err(Reach::Unreachable { reason }),
            Ok(Ok(answer)) => answer,
        };
        self.probe = Some(probe);
        if !may_see_all {
            let user = self.target.conninfo.user();
            self.remark(format!(
                "role \"{user}\" is no member of pg_monitor, and PostgreSQL hides from it who sends and receives\n\
                 hint: Call GRANT pg_monitor TO \"{user}\"."
            ));
        }
        Ok(status)
    }

    async fn connect(&mut self) -> Result<Probe, Reach> {
        connect(&self.target.conninfo).await.map(Probe::new).map_err(|error| {
            let reason = error.to_string();
            if let Some(hint) = error.hint() {
                self.remark(format!("{reason}\nhint: {hint}"));
            }
            match error.starting() {
                Some(phase) => Reach::Starting { reason: phase.to_owned() },
                None => Reach::Unreachable { reason },
            }
        })
    }

    fn remark(&mut self, text: String) {
        self.remarks.push(match &self.target.name {
            Some(name) => format!("{name}: {text}"),
            None => text,
        });
    }
}

fn with_causes(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
