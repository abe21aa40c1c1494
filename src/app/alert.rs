//! Alerts, as people see and silence them.

use std::collections::HashMap;

use super::{App, Who, ends_in_time};
use crate::clock::Timestamp;
use crate::config::AlertRule;
use crate::domain::alert::{Alert, AlertKind, Silence, Subject};
use crate::domain::member::Role;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::alert::Delivery;
use crate::store::node::MOST as MOST_NODES;

/// Of how long ago ended alerts are listed.
const AGO: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3600);

/// What is to be silent: all of it, where nothing is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    pub tenant: Option<String>,
    pub job: Option<String>,
    pub node: Option<i64>,
    pub kind: Option<AlertKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Open,
    /// In the last week.
    Ended,
}

/// An alert with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub alert: Alert,
    /// Absent: the server's.
    pub tenant: Option<String>,
    pub job: Option<String>,
    /// Nobody is told, until when and by whom.
    pub silenced: Option<(Timestamp, String)>,
}

/// A silence with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hushed {
    pub which: Which,
    pub silence: Silence,
}

/// A sink, and how it took the last message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkState {
    /// Absent: windlass.toml names it.
    pub tenant: Option<String>,
    pub sink: String,
    pub when: Vec<AlertKind>,
    pub last: Option<Delivery>,
}

impl SinkState {
    /// It did not take the last message.
    pub fn fails(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.error.is_some())
    }
}

impl App {
    /// Open or ended ones, the newest first; of one tenant, or of all that may be seen. `before` is the last of the page before.
    ///
    /// # Errors
    /// `NotFound` for another's tenant.
    pub async fn alerts(
        &self,
        tenant: Option<&str>,
        standing: Standing,
        before: Option<Id>,
        limit: u32,
        who: &Who,
    ) -> Result<Vec<Shown>> {
        let mut tx = self.store.read().await?;
        let (of, now) = (scope(&mut tx, tenant, who).await?, self.now());
        let alerts = match standing {
            Standing::Open => tx.open_alerts_page(of, before, limit).await?,
            Standing::Ended => tx.ended_alerts_page(now.minus(AGO), of, before, limit).await?,
        };
        let (silences, names) = (tx.silences(now).await?, Names::read(&mut tx).await?);
        let shown = |alert: Alert| {
            let quiet = silences.iter().filter(|silence| alert.closed_at.is_none() && silence.covers(&alert.subject, now));
            let silenced = quiet.max_by_key(|silence| silence.until).map(|silence| (silence.until, silence.by.clone()));
            let Subject { tenant, job, .. } = alert.subject;
            Shown { tenant: names.tenant(tenant), job: names.job(job), silenced, alert }
        };
        Ok(alerts.into_iter().map(shown).collect())
    }

    /// Open ones and those that ended in the last week, 10,001 at most.
    ///
    /// # Errors
    /// `NotFound` for another's tenant.
    pub async fn count_alerts(&self, tenant: Option<&str>, who: &Who) -> Result<u64> {
        let mut tx = self.store.read().await?;
        let of = scope(&mut tx, tenant, who).await?;
        tx.count_alerts(self.now().minus(AGO), of).await
    }

    /// What is silent now.
    ///
    /// # Errors
    /// `NotFound` for another's tenant.
    pub async fn silences(&self, tenant: Option<&str>, who: &Who) -> Result<Vec<Hushed>> {
        let mut tx = self.store.read().await?;
        let of = scope(&mut tx, tenant, who).await?;
        let (silences, names) = (tx.silences(self.now()).await?, Names::read(&mut tx).await?);
        let seen = silences.into_iter().filter(|silence| of.is_none_or(|of| of == silence.tenant || silence.tenant == Id(0)));
        let which = |s: &Silence| Which {
            tenant: names.tenant(s.tenant),
            job: names.job(s.job),
            node: Some(s.node).filter(|node| *node != 0),
            kind: s.kind,
        };
        Ok(seen.map(|silence| Hushed { which: which(&silence), silence }).collect())
    }

    /// Nobody is told of it until then; it is still shown.
    ///
    /// # Errors
    /// `Invalid` for a time that has passed or is more than a year away, or a job without its tenant; `NotFound`, `Forbidden`.
    pub async fn silence(&self, which: &Which, until: Timestamp, who: &Who) -> Result<()> {
        let now = self.now();
        ends_in_time(until, now)?;
        let mut tx = self.store.begin().await?;
        let (tenant, job) = ids(&mut tx, which, who, "silencing alerts").await?;
        let (node, kind) = (which.node.unwrap_or(0), which.kind);
        tx.put_silence(&Silence { tenant, job, node, kind, until, by: who.name.clone(), made_at: now }).await?;
        let detail = format!("until {}", until.rfc3339());
        tx.audit(tenant, &who.name, "alert.silence", &which.to_string(), Some(&detail), now).await?;
        tx.commit().await
    }

    /// Ends a silence before its time.
    ///
    /// # Errors
    /// `NotFound` when there is none of exactly this; `Forbidden`.
    pub async fn end_silence(&self, which: &Which, who: &Who) -> Result<()> {
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let (tenant, job) = ids(&mut tx, which, who, "ending a silence").await?;
        if !tx.end_silence(tenant, job, which.node.unwrap_or(0), which.kind).await? {
            return Err(Error::not_found(format!("a silence of {which}")));
        }
        tx.audit(tenant, &who.name, "alert.speak", &which.to_string(), None, now).await?;
        tx.commit().await
    }

    /// Every sink, those that fail first.
    ///
    /// # Errors
    /// `NotFound` for another's tenant.
    pub async fn sinks(&self, tenant: Option<&str>, who: &Who) -> Result<Vec<SinkState>> {
        let mut tx = self.store.read().await?;
        let of = scope(&mut tx, tenant, who).await?;
        let last: HashMap<_, _> =
            tx.last_deliveries(self.now()).await?.into_iter().map(|last| ((last.owner, last.sink.clone()), last)).collect();
        let mut sinks = Vec::new();
        let mut note = |owner: Id, tenant: Option<&str>, rules: &[AlertRule]| {
            for rule in rules {
                let (sink, tenant) = (rule.name(), tenant.map(str::to_owned));
                let last = last.get(&(owner, sink.clone())).cloned();
                sinks.push(SinkState { tenant, sink, when: rule.when.clone(), last });
            }
        };
        for tenant in tx.tenants().await?.iter().filter(|tenant| of.is_none_or(|of| of == tenant.id)) {
            note(tenant.id, Some(&tenant.name), &tenant.alerts);
        }
        if of.is_none() {
            note(Id(0), None, &self.settings.alerts);
        }
        sinks.sort_by_key(|sink| !sink.fails());
        Ok(sinks)
    }
}

/// The tenant that is asked for, or the only one that may be seen; `None`: all.
async fn scope(tx: &mut Tx, tenant: Option<&str>, who: &Who) -> Result<Option<Id>> {
    let Some(name) = tenant else { return Ok(who.tenant) };
    let id = tx.need_tenant(name).await?.id;
    who.may(Role::Viewer, id, "looking at alerts")?;
    Ok(Some(id))
}

async fn ids(tx: &mut Tx, which: &Which, who: &Who, doing: &str) -> Result<(Id, Id)> {
    if let Some(node) = which.node.filter(|node| !(1..=MOST_NODES).contains(node)) {
        return Err(Error::invalid("node", format!("{node} is no node; they have numbers from 1 to {MOST_NODES}")));
    }
    let Some(tenant) = &which.tenant else {
        if which.job.is_some() {
            return Err(Error::invalid("tenant", "a job is silent with its tenant; name both"));
        }
        who.may_all(Role::Operator, doing)?;
        return Ok((Id(0), Id(0)));
    };
    let tenant = tx.need_tenant(tenant).await?.id;
    who.may(Role::Operator, tenant, doing)?;
    match &which.job {
        Some(job) => Ok((tenant, tx.need_job(tenant, job).await?.id)),
        None => Ok((tenant, Id(0))),
    }
}

struct Names {
    tenants: HashMap<Id, String>,
    jobs: HashMap<Id, String>,
}

impl Names {
    async fn read(tx: &mut Tx) -> Result<Self> {
        let tenants = tx.tenants().await?.into_iter().map(|tenant| (tenant.id, tenant.name)).collect();
        let jobs = tx.job_names().await?.into_iter().map(|(id, _, job)| (id, job)).collect();
        Ok(Self { tenants, jobs })
    }

    fn tenant(&self, id: Id) -> Option<String> {
        self.tenants.get(&id).cloned()
    }

    fn job(&self, id: Id) -> Option<String> {
        self.jobs.get(&id).cloned()
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let of = match (&self.tenant, &self.job) {
            (Some(tenant), Some(job)) => format!("{tenant}/{job}"),
            (Some(tenant), None) => tenant.clone(),
            (None, _) => "all tenants".into(),
        };
        f.write_str(&of)?;
        if let Some(node) = self.node {
            write!(f, ", node {node}")?;
        }
        self.kind.map_or(Ok(()), |kind| write!(f, ", {}", kind.word()))
    }
}
