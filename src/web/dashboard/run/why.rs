//! Why a run waits: everything that must be true before it starts, and what of it is.

use crate::clock::Timestamp;
use crate::domain::run::{Run, State};
use crate::domain::tenant::Tenant;
use crate::store::run::StateCounts;
use crate::web::board::JobLine;

pub struct Wait {
    pub what: &'static str,
    pub met: bool,
    pub now: String,
    pub at: Option<Timestamp>,
}

pub fn waits(run: &Run, tenant: &Tenant, counts: StateCounts, job: Option<&JobLine>, now: Timestamp) -> Vec<Wait> {
    let State::Waiting { due_at, why } = &run.state else { return Vec::new() };
    let mut waits = Vec::new();
    let time = match why {
        Some(why) if *due_at > now => Wait { what: "Its time", met: false, now: format!("{why}; due"), at: Some(*due_at) },
        _ if *due_at > now => Wait { what: "Its time", met: false, now: "due".into(), at: Some(*due_at) },
        _ => Wait { what: "Its time", met: true, now: "due since".into(), at: Some(*due_at) },
    };
    waits.push(time);
    let paused = job.and_then(|job| job.job.paused_by.as_deref().filter(|_| job.job.paused_at.is_some()));
    waits.push(match (job, paused) {
        (None, _) => Wait { what: "Job", met: false, now: "was removed: apply it again, or cancel this run".into(), at: None },
        (_, Some(by)) => {
            Wait { what: "Job enabled", met: false, now: format!("paused by {by}; resume it on its page"), at: None }
        }
        _ => Wait { what: "Job enabled", met: true, now: "yes".into(), at: None },
    });
    let limit = u64::from(tenant.limits.running);
    let used = format!("{} of {limit} runs of {} at once", counts.running, tenant.name);
    waits.push(Wait { what: "Limit of the tenant", met: counts.running < limit, now: used, at: None });
    if let Some(start_by) = run.start_by {
        waits.push(Wait {
            what: "Start deadline",
            met: now < start_by,
            now: "it does not start any more after".into(),
            at: Some(start_by),
        });
    }
    waits
}
