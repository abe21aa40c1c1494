//! Why a run waits: everything that must be true before it starts, and what of it is.

use crate::clock::Timestamp;
use crate::domain::admission::{Need, Shut};
use crate::domain::job::Job;
use crate::domain::run::{Run, State};

pub struct Wait {
    pub what: &'static str,
    pub met: bool,
    pub now: String,
    pub at: Option<Timestamp>,
}

/// `job`: as it is now; `None` when it was removed.
pub fn waits(run: &Run, job: Option<&Job>, needs: &[Need], now: Timestamp) -> Vec<Wait> {
    let State::Waiting { due_at, why } = &run.state else { return Vec::new() };
    let mut waits = Vec::new();
    let time = match why {
        Some(why) if *due_at > now => Wait { what: "Its time", met: false, now: format!("{why}; due"), at: Some(*due_at) },
        _ if *due_at > now => Wait { what: "Its time", met: false, now: "due".into(), at: Some(*due_at) },
        _ => Wait { what: "Its time", met: true, now: "due since".into(), at: Some(*due_at) },
    };
    waits.push(time);
    let (class, paused_by) = job.map_or(("", None), |job| (job.spec.class.as_str(), job.paused_by.as_deref()));
    waits.extend(needs.iter().filter(|need| need.is_limited()).map(|need| {
        let now = match (need, paused_by) {
            (Need::Open(Some(Shut::Paused)), Some(by)) => format!("paused by {by}; resume it on its page"),
            _ => need.now(class),
        };
        Wait { what: need.what(), met: need.room() > 0, now, at: None }
    }));
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
