//! Whether runs of a job may start now, and what hinders them when they may not. The worker asks before it claims, the store
//! asks again over all nodes, and pages ask so that a waiting run can say why it waits: one answer for all.

use super::job::JobSpec;
use super::span::Size;
use super::tenant::TenantLimits;
use crate::config::Class;

/// What runs of one job keep to. `u32::MAX`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Runs of its tenant at a time, over all nodes.
    pub tenant: u32,
    /// Runs of its tenant that begin within a minute of the clock, over all nodes.
    pub starts: u32,
    /// Runs of the job at a time, over all nodes.
    pub job: u32,
    /// Runs of its class at a time, over all nodes.
    pub class: u32,
    /// MiB that one run may take.
    pub memory: u32,
    /// Nothing of the job starts, whatever is free.
    pub shut: Option<Shut>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { tenant: u32::MAX, starts: u32::MAX, job: u32::MAX, class: u32::MAX, memory: 0, shut: None }
    }
}

impl Bounds {
    /// As they are configured. `memory`: what its guest is granted.
    pub fn of(tenant: &TenantLimits, job: &JobSpec, class: Option<&Class>, memory: Size, shut: Option<Shut>) -> Self {
        Self {
            tenant: tenant.running,
            starts: tenant.starts_per_minute.unwrap_or(u32::MAX),
            job: job.running.unwrap_or(u32::MAX),
            class: class.and_then(|class| class.running).unwrap_or(u32::MAX),
            memory: memory.in_mib(),
            shut,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    Removed,
    Paused,
    /// A version of its plugin that it may take is not loaded on this node.
    Unloaded,
}

/// What stands against the bounds at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Runs of the tenant, the job and the class that run.
    pub tenant: u32,
    pub job: u32,
    pub class: u32,
    /// Runs of the tenant that began within this minute.
    pub starts: u32,
    /// MiB of the node's budget that no guest has been promised; `u32::MAX` where it is not known.
    pub memory: u32,
    /// Runs that the node can take besides those it has.
    pub slots: u32,
}

impl Default for Load {
    fn default() -> Self {
        Self { tenant: 0, job: 0, class: 0, starts: 0, memory: u32::MAX, slots: u32::MAX }
    }
}

/// One thing that a run needs before it may start, as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Open(Option<Shut>),
    Tenant(Used),
    /// Full until the minute is over.
    Starts(Used),
    Job(Used),
    Class(Used),
    /// MiB that a run may take, and that are free.
    Memory {
        needs: u32,
        free: u32,
    },
    Slots(u32),
    /// Nobody else claims for its tenant or its class at this moment.
    Alone(bool),
}

/// So many of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    pub used: u32,
    pub most: u32,
}

/// All that a run of the job needs: first what a person has to do something about.
pub fn needs(bounds: &Bounds, load: &Load) -> [Need; 7] {
    let used = |used, most| Used { used, most };
    [
        Need::Open(bounds.shut),
        Need::Tenant(used(load.tenant, bounds.tenant)),
        Need::Starts(used(load.starts, bounds.starts)),
        Need::Job(used(load.job, bounds.job)),
        Need::Class(used(load.class, bounds.class)),
        Need::Memory { needs: bounds.memory, free: load.memory },
        Need::Slots(load.slots),
    ]
}

/// How many more runs of the job may start now: one or more.
///
/// # Errors
/// The first need that is not met.
pub fn room(bounds: &Bounds, load: &Load) -> Result<u32, Need> {
    needs(bounds, load).into_iter().try_fold(u32::MAX, |room, need| match need.room() {
        0 => Err(need),
        left => Ok(room.min(left)),
    })
}

impl Need {
    /// Runs that it leaves room for; 0: it is not met.
    pub fn room(self) -> u32 {
        match self {
            Self::Open(None) | Self::Alone(true) => u32::MAX,
            Self::Open(Some(_)) | Self::Alone(false) => 0,
            Self::Tenant(of) | Self::Starts(of) | Self::Job(of) | Self::Class(of) => of.most.saturating_sub(of.used),
            Self::Memory { needs, free } => free.checked_div(needs).unwrap_or(u32::MAX),
            Self::Slots(free) => free,
        }
    }

    /// Whether what is not met here is not met for any job of the tenant.
    pub fn is_of_tenant(self) -> bool {
        matches!(self, Self::Tenant(_) | Self::Starts(_) | Self::Slots(_))
    }

    /// Whether there is such a limit.
    pub fn is_limited(self) -> bool {
        match self {
            Self::Tenant(of) | Self::Starts(of) | Self::Job(of) | Self::Class(of) => of.most < u32::MAX,
            Self::Memory { free, .. } => free < u32::MAX,
            Self::Slots(free) => free < u32::MAX,
            Self::Open(_) | Self::Alone(_) => true,
        }
    }

    pub fn what(self) -> &'static str {
        match self {
            Self::Open(Some(Shut::Unloaded)) => "Plugin",
            Self::Open(_) => "Job enabled",
            Self::Tenant(_) => "Limit of the tenant",
            Self::Starts(_) => "Starts of the tenant",
            Self::Job(_) => "Limit of the job",
            Self::Class(_) => "Limit of the class",
            Self::Memory { .. } => "Memory",
            Self::Slots(_) => "Its turn",
            Self::Alone(_) => "Other nodes",
        }
    }

    /// How it stands, in words. `class`: the name of the job's.
    pub fn now(self, class: &str) -> String {
        match self {
            Self::Open(None) => "yes".into(),
            Self::Open(Some(Shut::Removed)) => "was removed: apply it again, or cancel this run".into(),
            Self::Open(Some(Shut::Paused)) => "paused; resume it on its page".into(),
            Self::Open(Some(Shut::Unloaded)) => "is not loaded on this node yet".into(),
            Self::Tenant(Used { used, most }) | Self::Job(Used { used, most }) => format!("{used} of {most} runs at a time"),
            Self::Starts(Used { used, most }) => format!("{used} of {most} in this minute"),
            Self::Class(Used { used, most }) => format!("{used} of {most} runs of the class {class} at a time"),
            Self::Memory { needs, free } => format!("a run may take {needs} MiB; {free} MiB of this node's budget are free"),
            Self::Slots(0) => "this node has as many runs as it takes".into(),
            Self::Slots(free) => format!("this node takes {free} more"),
            Self::Alone(_) => "another one takes runs of the same tenant or class at this moment".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_bound_is_the_room_and_the_first_that_is_full_is_told() {
        let bounds = Bounds { tenant: 10, starts: 60, job: 5, class: 4, memory: 256, shut: None };
        let load = Load { tenant: 3, job: 1, class: 1, starts: 10, memory: 1_000, slots: 50 };
        assert_eq!(room(&bounds, &load), Ok(3));
        assert_eq!(room(&bounds, &Load { memory: 512, ..load }), Ok(2));
        assert_eq!(room(&bounds, &Load { slots: 1, ..load }), Ok(1));
        assert_eq!(room(&Bounds { memory: 0, ..bounds }, &Load { memory: 0, ..load }), Ok(3), "what takes none needs none");
        for (load, what, now) in [
            (Load { tenant: 11, slots: 0, ..load }, "Limit of the tenant", "11 of 10 runs at a time"),
            (Load { starts: 60, ..load }, "Starts of the tenant", "60 of 60 in this minute"),
            (Load { job: 5, class: 4, ..load }, "Limit of the job", "5 of 5 runs at a time"),
            (Load { class: 4, ..load }, "Limit of the class", "4 of 4 runs of the class heavy at a time"),
            (Load { memory: 255, ..load }, "Memory", "a run may take 256 MiB; 255 MiB of this node's budget are free"),
            (Load { slots: 0, ..load }, "Its turn", "this node has as many runs as it takes"),
        ] {
            let need = room(&bounds, &load).unwrap_err();
            assert_eq!((need.what(), need.now("heavy").as_str()), (what, now));
            assert!(need.is_limited());
        }
        let paused = Bounds { shut: Some(Shut::Paused), ..bounds };
        assert_eq!(room(&paused, &Load { tenant: 99, ..load }), Err(Need::Open(Some(Shut::Paused))));
        assert_eq!(room(&Bounds::default(), &Load::default()), Ok(u32::MAX));
        let unlimited = needs(&Bounds::default(), &Load::default()).into_iter().skip(1);
        assert!(unlimited.into_iter().all(|need| !need.is_limited() && need.room() == u32::MAX));
    }
}
