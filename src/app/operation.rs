//! Many dead runs at a time: looked at first, then confirmed, then worked on by the runner. What was confirmed is written
//! down run by run, so nothing else is touched.

use std::collections::HashMap;

use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::dead::{Action, NOTICE, OPERATION_LIMIT, Operation, OperationState, Order, RATE_LIMIT, Standing, Which};
use crate::domain::member::Role;
use crate::domain::run::Run;
use crate::domain::tenant::Tenant;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::store::Tx;
use crate::store::dead::DeadQuery;

/// Runs, or groups, that may be named one by one.
const NAMED_LIMIT: usize = 1_000;
/// Runs that a preview shows.
const SAMPLE: u32 = 10;

/// What an operation would do.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    pub total: u64,
    /// There are more than one operation takes.
    pub more: bool,
    /// (tenant, job, runs), the most first.
    pub jobs: Vec<(String, String, u64)>,
    /// When the first of them died.
    pub oldest: Option<Timestamp>,
    /// Some of them, each with its tenant's and its job's name.
    pub sample: Vec<(String, String, Run)>,
}

/// Dead runs of one tenant that fit.
pub struct Target {
    pub tenant: Tenant,
    pub query: DeadQuery,
}

impl App {
    /// What an operation would do, without doing it.
    ///
    /// # Errors
    /// `NotFound` for a tenant or job that is not there.
    pub async fn preview(&self, action: Action, which: &Which, who: &Who) -> Result<Preview> {
        not_too_many(which)?;
        let (now, mut tx) = (self.now(), self.store.read().await?);
        let names: HashMap<Id, String> = tx.job_names().await?.into_iter().map(|(id, _, name)| (id, name)).collect();
        let name = |job: Id| names.get(&job).cloned().unwrap_or_else(|| job.to_string());
        let mut preview = Preview::default();
        if !which.runs.is_empty() {
            let tenants = self.tenants_named(&mut tx, which.runs.iter().map(|(tenant, _)| tenant), who).await?;
            let keys = keys_of(which, &tenants);
            for run in tx.dead_runs(&keys, action.standing() == Standing::Discarded, now).await? {
                let tenant = tenants.values().find(|tenant| tenant.id == run.tenant).map_or("", |tenant| &tenant.name);
                preview.add(tenant, &name(run.job), 1, ended_at(&run));
                if preview.sample.len() < SAMPLE as usize {
                    preview.sample.push((tenant.to_owned(), name(run.job), run));
                }
            }
        } else {
            for Target { tenant, query } in self.targets(&mut tx, action.standing_in(which), which, who).await? {
                for of in tx.dead_by_job(tenant.id, &query, now).await? {
                    preview.add(&tenant.name, &name(of.job), of.count, Some(of.oldest));
                }
                let missing = SAMPLE.saturating_sub(u32::try_from(preview.sample.len()).unwrap_or(SAMPLE));
                if missing > 0 {
                    let found = tx.dead(tenant.id, &query, None, missing, now).await?;
                    preview.sample.extend(found.into_iter().map(|run| (tenant.name.clone(), name(run.job), run)));
                }
            }
        }
        preview.jobs.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
        preview.more = preview.total > OPERATION_LIMIT;
        preview.total = preview.total.min(OPERATION_LIMIT);
        Ok(preview)
    }

    /// Begins it. `expected`: refuses when that is not how many there are now.
    ///
    /// # Errors
    /// `NotFound` for a tenant or job that is not there; `Conflict` when nothing fits, or the number has changed.
    pub async fn operate(&self, action: Action, order: Order, expected: Option<u64>, who: &Who) -> Result<Operation> {
        if !(1..=RATE_LIMIT).contains(&order.rate) {
            return Err(Error::invalid("rate", format!("{} is not from 1 to {RATE_LIMIT} runs a second", order.rate)));
        }
        not_too_many(&order.which)?;
        if order.reason.chars().count() > 500 {
            return Err(Error::invalid("reason", "at most 500 characters"));
        }
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let (id, which) = (tx.new_id(), &order.which);
        let mut tenants: Vec<Tenant> = Vec::new();
        let mut total = 0;
        if !which.runs.is_empty() {
            let named = self.tenants_named(&mut tx, which.runs.iter().map(|(tenant, _)| tenant), who).await?;
            let fits = tx.dead_runs(&keys_of(which, &named), action.standing() == Standing::Discarded, now).await?;
            total = tx.choose_these(id, &fits.iter().map(|run| (run.tenant, run.id)).collect::<Vec<_>>()).await?;
            tenants.extend(named.into_values());
        } else {
            for Target { tenant, query } in self.targets(&mut tx, action.standing_in(which), which, who).await? {
                total += tx.choose(id, tenant.id, &query, OPERATION_LIMIT - total, now).await?;
                tenants.push(tenant);
            }
        }
        tenants.sort_by_key(|tenant| tenant.id);
        tenants.dedup_by_key(|tenant| tenant.id);
        for tenant in &tenants {
            who.may(Role::Operator, tenant.id, "dealing with dead runs")?;
        }
        // Of a tenant when it can touch no other.
        let tenant = match (tenants.as_slice(), which.tenant.is_some() || !which.runs.is_empty() || !which.groups.is_empty()) {
            ([one], true) => one.id,
            _ => who.tenant.unwrap_or(Id(0)),
        };
        if let Some(expected) = expected.filter(|expected| *expected != total) {
            return Err(Error::Conflict(format!("these are {total} runs now, and not {expected}: look at them again")));
        }
        self.put(tx, id, tenant, action, order, total, who).await
    }

    /// Brings back what an operation has discarded.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it discarded nothing.
    pub async fn undo_operation(&self, id: Id, who: &Who) -> Result<Operation> {
        let other = self.operation(id, who).await?;
        who.has(Role::Operator, "dealing with dead runs")?;
        if other.action != Action::Discard {
            return Err(Error::Conflict(format!("operation {id} discarded nothing; a re-run cannot be taken back")));
        }
        let mut tx = self.store.begin().await?;
        let new = tx.new_id();
        let total = tx.choose_of(new, id).await?;
        let which = Which { standing: Standing::Discarded, ..other.order.which };
        let order = Order { which, rate: other.order.rate, reason: format!("undo of operation {id}"), backfill: None };
        self.put(tx, new, other.tenant, Action::Undo, order, total, who).await
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    pub(super) async fn put(
        &self,
        mut tx: Tx,
        id: Id,
        tenant: Id,
        action: Action,
        order: Order,
        total: u64,
        who: &Who,
    ) -> Result<Operation> {
        if total == 0 {
            return Err(Error::Conflict(match action {
                Action::Backfill => "there is nothing to make up for: each time in the window had its run".into(),
                _ => "no dead run fits: they were run again or discarded, or are gone".into(),
            }));
        }
        let now = self.now();
        let detail = serde_json::json!({ "runs": total, "order": &order }).to_string();
        let operation = Operation {
            id,
            tenant,
            action,
            order,
            total,
            done: 0,
            left: 0,
            state: OperationState::Running,
            cursor: Id(0),
            started_at: now,
            ended_at: None,
            by: who.name.clone(),
            waits: None,
        };
        tx.put_operation(&operation).await?;
        let what = if action == Action::Backfill { "job" } else { "dead" };
        tx.audit(tenant, &who.name, &format!("{what}.{}", action.word()), &id.to_string(), Some(&detail), now).await?;
        tx.commit().await?;
        Ok(operation)
    }

    /// Ends an operation where it stands; what is done stays done.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is over.
    pub async fn cancel_operation(&self, id: Id, who: &Who) -> Result<Operation> {
        let operation = self.operation(id, who).await?;
        who.has(Role::Operator, "stopping an operation")?;
        let now = self.now();
        let mut tx = self.store.begin().await?;
        if !tx.cancel_operation(id, now).await? {
            return Err(Error::Conflict(format!("operation {id} is over")));
        }
        tx.audit(operation.tenant, &who.name, "operation.cancel", &id.to_string(), None, now).await?;
        tx.commit().await?;
        self.operation(id, who).await
    }

    /// # Errors
    /// `NotFound`, also when it may touch a tenant that is not theirs.
    pub async fn operation(&self, id: Id, who: &Who) -> Result<Operation> {
        let found = self.store.read().await?.operation(id).await?;
        let seen = found.filter(|operation| who.tenant.is_none_or(|own| own == operation.tenant));
        seen.ok_or_else(|| Error::not_found(format!("operation {id}")))
    }

    /// Newest first.
    pub async fn operations(&self, before: Option<Id>, limit: u32, who: &Who) -> Result<Vec<Operation>> {
        self.store.read().await?.operations(who.tenant, before, limit).await
    }

    /// Where to look for them, tenant by tenant.
    ///
    /// # Errors
    /// `NotFound` for a tenant or job that is not there.
    pub async fn targets(&self, tx: &mut Tx, standing: Standing, which: &Which, who: &Who) -> Result<Vec<Target>> {
        let now = self.now();
        let tenants: Vec<Tenant> = match &which.tenant {
            Some(name) => self.tenants_named(tx, std::iter::once(name), who).await?.into_values().collect(),
            None if !which.groups.is_empty() => {
                let names = which.groups.iter().map(|(tenant, _)| tenant);
                self.tenants_named(tx, names, who).await?.into_values().collect()
            }
            None => {
                // Most tenants have none.
                let some: Vec<Id> = match standing {
                    Standing::Discarded => tx.discarded_by_tenant(now).await?.into_iter().map(|(tenant, _)| tenant).collect(),
                    Standing::Open | Standing::Expiring => tx.dead_by_tenant().await?.into_keys().collect(),
                };
                let seen = |tenant: &Tenant| some.contains(&tenant.id) && who.tenant.is_none_or(|own| own == tenant.id);
                tx.tenants().await?.into_iter().filter(seen).collect()
            }
        };
        let jobs = if which.job.is_some() { tx.job_names().await? } else { Vec::new() };
        let mut targets = Vec::new();
        for tenant in tenants {
            let job = match &which.job {
                Some(name) => match jobs.iter().find(|(_, of, job)| *of == tenant.name && job == name) {
                    Some((id, _, _)) => Some(*id),
                    None if which.tenant.is_some() => return Err(Error::not_found(format!("job {name}"))),
                    None => continue,
                },
                None => None,
            };
            let query = DeadQuery {
                job,
                reason: which.cause,
                print: None,
                since: which.since,
                until: self.until(&tenant, standing, which.until),
                words: which.words.clone(),
                discarded: standing == Standing::Discarded,
            };
            let prints: Vec<i64> = which.groups.iter().filter(|(of, _)| *of == tenant.name).map(|(_, print)| *print).collect();
            if which.groups.is_empty() {
                targets.push(Target { tenant, query });
            } else {
                targets.extend(
                    prints
                        .into_iter()
                        .map(|print| Target { tenant: tenant.clone(), query: DeadQuery { print: Some(print), ..query.clone() } }),
                );
            }
        }
        Ok(targets)
    }

    /// Of those that expire: who died before this will be gone within [`NOTICE`].
    pub fn expiring_before(&self, tenant: &Tenant) -> Timestamp {
        self.now().plus(NOTICE).minus(tenant.retention.over(&self.settings.retention).dead.0)
    }

    fn until(&self, tenant: &Tenant, standing: Standing, until: Option<Timestamp>) -> Option<Timestamp> {
        match standing {
            Standing::Expiring => {
                let before = self.expiring_before(tenant);
                Some(until.map_or(before, |until| until.min(before)))
            }
            Standing::Open | Standing::Discarded => until,
        }
    }

    /// Open dead runs that are deleted within [`NOTICE`], by tenant; those that have none are left out.
    pub async fn expiring(&self, tx: &mut Tx, who: &Who) -> Result<Vec<(Tenant, u64)>> {
        let dead = tx.dead_by_tenant().await?;
        let mut tenants = tx.tenants().await?;
        tenants.retain(|tenant| dead.contains_key(&tenant.id) && who.tenant.is_none_or(|own| own == tenant.id));
        let asked: Vec<_> = tenants.iter().map(|tenant| (tenant.id, self.expiring_before(tenant))).collect();
        let counts: HashMap<Id, u64> = tx.dead_before(&asked).await?.into_iter().filter(|(_, n)| *n > 0).collect();
        Ok(tenants.into_iter().filter_map(|tenant| counts.get(&tenant.id).map(|n| (tenant.clone(), *n))).collect())
    }

    /// Tenants by name, if the asker may look into them.
    async fn tenants_named(
        &self,
        tx: &mut Tx,
        names: impl Iterator<Item = &String>,
        who: &Who,
    ) -> Result<HashMap<String, Tenant>> {
        let mut found = HashMap::new();
        for name in names {
            if !found.contains_key(name) {
                let tenant = tx.tenant(name).await?.filter(|tenant| who.tenant.is_none_or(|own| own == tenant.id));
                let tenant = tenant.ok_or_else(|| Error::not_found(format!("tenant {name}")))?;
                found.insert(name.clone(), tenant);
            }
        }
        Ok(found)
    }
}

impl Preview {
    fn add(&mut self, tenant: &str, job: &str, n: u64, oldest: Option<Timestamp>) {
        self.total += n;
        self.oldest = self.oldest.into_iter().chain(oldest).min();
        match self.jobs.iter_mut().find(|(of, name, _)| of == tenant && name == job) {
            Some((_, _, count)) => *count += n,
            None => self.jobs.push((tenant.to_owned(), job.to_owned(), n)),
        }
    }
}

/// # Errors
/// `Invalid` when more are named than a filter would be for.
fn not_too_many(which: &Which) -> Result<()> {
    for (field, named) in [("runs", which.runs.len()), ("groups", which.groups.len())] {
        if named > NAMED_LIMIT {
            let advice = "say by tenant, job, cause, time or words which are meant";
            return Err(Error::invalid(field, format!("{named} are named, at most {NAMED_LIMIT}: {advice}")));
        }
    }
    Ok(())
}

fn keys_of(which: &Which, tenants: &HashMap<String, Tenant>) -> Vec<(Id, Id)> {
    which.runs.iter().filter_map(|(tenant, run)| Some((tenants.get(tenant)?.id, *run))).collect()
}

fn ended_at(run: &Run) -> Option<Timestamp> {
    match run.state {
        crate::domain::run::State::Dead { ended_at, .. } => Some(ended_at),
        _ => None,
    }
}
