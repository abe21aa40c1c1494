//! Tenants and their jobs from files: everything is checked, then everything is changed in one transaction, or nothing.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::{Change, Difference, Outcome, differences};
use super::tenant_file::{self, Parsed};
use super::{App, Who};
use crate::clock::Timestamp;
use crate::domain::grant::Ceiling;
use crate::domain::job::{Job, JobSpec};
use crate::domain::member::Role;
use crate::domain::tenant::{Tenant, TenantFile};
use crate::domain::trigger::TriggerSpec;
use crate::error::{Error, Problem, Result};
use crate::id::Id;
use crate::store::Tx;

mod check;
mod prune;
mod rollout;
mod said;

/// A job with more unfinished runs is not removed by a file: cancelling them would keep everybody else waiting.
const REMOVE_LIMIT: u32 = 1_000;

/// Text by name, as tenants have it.
pub type Labels = BTreeMap<String, String>;

/// A tenant file. The path is what messages call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// A file that may be applied.
struct Checked {
    parsed: Parsed,
    /// As it stood when the file was checked.
    standing: Option<Tenant>,
    ceiling: Ceiling,
    /// Of the jobs' plugins, job by job.
    digests: Vec<String>,
    /// Of the versions beside them.
    canaries: Vec<Option<String>>,
}

impl App {
    /// Makes tenants and jobs as the files say, and answers what became of each, in their order. Jobs of a tenant that
    /// its file does not name any more are removed, with their waiting runs cancelled; tenants are never removed. What is
    /// as the file says already is not written again. `dry_run`: answers the same and changes nothing.
    ///
    /// # Errors
    /// `Invalid` with all that is wrong in all files, each with file, line and field; nothing is changed then. `NotFound`
    /// and `Forbidden` for who may not. `Conflict` when somebody else changed a tenant at the same time.
    pub async fn apply(&self, sources: Vec<Source>, dry_run: bool, who: &Who) -> Result<Vec<Change>> {
        self.apply_and_prune(sources, &Labels::new(), dry_run, who).await
    }

    /// The same, and whatever other tenants with all of these labels have: a tenant that no file names keeps its history, its
    /// members and its secrets, and loses its jobs. Without labels none is looked at.
    ///
    /// # Errors
    /// Those of [`App::apply`]; `Forbidden` also for the admin of one tenant, who sees no other.
    pub async fn apply_and_prune(&self, sources: Vec<Source>, prune: &Labels, dry_run: bool, who: &Who) -> Result<Vec<Change>> {
        if !prune.is_empty() {
            who.may_all(Role::Admin, "pruning")?;
        }
        match who.tenant {
            Some(own) => who.may(Role::Admin, own, "applying a tenant file")?,
            None => who.may_all(Role::Admin, "applying tenant files")?,
        }
        let (files, mut problems) = read_all(&sources);
        self.push_embedded_named(files.iter().flat_map(|parsed| &parsed.file.jobs).map(|job| job.plugin.name.as_str())).await?;
        let mut checked = Vec::new();
        for parsed in files {
            checked.push(self.check_file(parsed, who, &mut problems).await?);
        }
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        let now = self.now();
        let mut tx = self.store.begin().await?;
        let (mut changes, mut said) = (Vec::new(), false);
        for file in &checked {
            said |= write_file(&mut tx, file, who, now, &mut changes).await?;
        }
        if !prune.is_empty() {
            prune::prune(&mut tx, &checked, prune, who, now, &mut changes).await?;
        }
        if !dry_run && (said || changes.iter().any(|change| change.result != Outcome::UpToDate)) {
            tx.commit().await?;
        }
        Ok(changes)
    }
}

/// The files that can be read, and what is wrong with the others. Two files of one tenant would undo each other.
fn read_all(sources: &[Source]) -> (Vec<Parsed>, Vec<Problem>) {
    let (mut files, mut problems) = (Vec::<Parsed>::new(), Vec::new());
    let mut tenants = HashMap::new();
    for source in sources {
        match tenant_file::parse(&source.path, &source.text) {
            Ok(parsed) => {
                if let Some(first) = tenants.insert(parsed.file.tenant.clone(), &source.path) {
                    let message = format!("{:?} stands in {first} already; a tenant has one file", parsed.file.tenant);
                    problems.push(parsed.placed(Problem::new("tenant", message)));
                }
                files.push(parsed);
            }
            Err(found) => problems.extend(found),
        }
    }
    (files, problems)
}

/// Answers whether the file says otherwise than before, maybe the same, which keys have their defaults.
async fn write_file(tx: &mut Tx, checked: &Checked, who: &Who, now: Timestamp, changes: &mut Vec<Change>) -> Result<bool> {
    let file = &checked.parsed.file;
    let standing = tx.tenant(&file.tenant).await?;
    // What was checked must be what is changed: between the two, somebody may have taken a right away.
    if standing.as_ref().map(|tenant| &tenant.ceiling) != checked.standing.as_ref().map(|tenant| &tenant.ceiling) {
        return Err(Error::Conflict(format!("tenant {} was changed by somebody else at this moment; apply again", file.tenant)));
    }
    let tenant = write_tenant(tx, checked, standing, who, now, changes).await?;
    let jobs = tx.jobs_of(tenant.id).await?;
    for (n, spec) in file.jobs.iter().enumerate() {
        let standing = jobs.iter().find(|job| job.spec.name == spec.name);
        let result = write_job(tx, checked, n, &tenant, standing, who, now).await?;
        let object = format!("job {}/{}", tenant.name, spec.name);
        note(tx, tenant.id, who, now, changes, Change { object, result }).await?;
    }
    for gone in jobs.iter().filter(|job| file.jobs.iter().all(|spec| spec.name != job.spec.name)) {
        if let Err(why) = remove_job(tx, gone, who, now, changes).await? {
            return Err(Error::Invalid(vec![checked.parsed.placed(Problem::new("job", why))]));
        }
    }
    said::write(tx, &checked.parsed, tenant.id).await
}

async fn write_tenant(
    tx: &mut Tx,
    checked: &Checked,
    standing: Option<Tenant>,
    who: &Who,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<Tenant> {
    let file = &checked.parsed.file;
    let wanted = Tenant {
        id: standing.as_ref().map_or_else(|| tx.new_id(), |tenant| tenant.id),
        name: file.tenant.clone(),
        zone: file.zone,
        weight: file.weight,
        labels: file.labels.clone(),
        limits: file.limits.clone(),
        retention: file.retention.clone(),
        ceiling: checked.ceiling.clone(),
        alerts: file.alerts.clone(),
        created_at: standing.as_ref().map_or(now, |tenant| tenant.created_at),
        updated_at: now,
    };
    let result = match &standing {
        None => Outcome::Created,
        Some(standing) => updated(differences(&tenant_keys(standing), &tenant_keys(&wanted))),
    };
    if result != Outcome::UpToDate {
        tx.put_tenant(&wanted, now).await?;
    }
    let tenant = tx.need_tenant(&file.tenant).await?;
    note(tx, tenant.id, who, now, changes, Change { object: format!("tenant {}", tenant.name), result }).await?;
    Ok(tenant)
}

fn tenant_keys(t: &Tenant) -> Value {
    json!({ "zone": t.zone, "weight": t.weight, "labels": t.labels, "limits": t.limits, "retention": t.retention, "ceiling": t.ceiling, "alert": t.alerts })
}

fn updated(what: Vec<Difference>) -> Outcome {
    if what.is_empty() { Outcome::UpToDate } else { Outcome::Updated(what) }
}

async fn write_job(
    tx: &mut Tx,
    checked: &Checked,
    n: usize,
    tenant: &Tenant,
    standing: Option<&Job>,
    who: &Who,
    now: Timestamp,
) -> Result<Outcome> {
    let spec = as_stored(&checked.parsed.file, n)?;
    let digest = &checked.digests[n];
    let result = match standing {
        None => Outcome::Created,
        Some(job) => {
            let mut what = differences(&serde_json::to_value(&job.spec)?, &serde_json::to_value(&spec)?);
            // `@1` may mean newer bytes than it did.
            if job.digest != *digest && !what.iter().any(|one| one.key == "plugin") {
                let bytes = |digest: &str| json!(format!("{} ({digest})", spec.plugin));
                what.push(Difference { key: "plugin".into(), old: bytes(&job.digest), new: bytes(digest) });
            }
            updated(what)
        }
    };
    if result == Outcome::UpToDate {
        return Ok(result);
    }
    let job = tx.put_job(tenant.id, &spec, digest, &who.name, now).await?;
    if let Some(standing) = standing {
        rollout::write(tx, standing, &job, checked.canaries[n].as_deref(), &result, who, now).await?;
    } else if let Some(canary) = &checked.canaries[n] {
        rollout::begin(tx, &job, &job.digest, canary, who, now).await?;
    }
    let mut problems = Vec::new();
    for (m, trigger) in spec.triggers.iter().enumerate() {
        if let Err(wrong) = first_due(trigger, tenant, job.id, now) {
            problems.push(checked.parsed.placed(Problem::new(format!("job[{n}].triggers[{m}].schedule"), wrong)));
        }
    }
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    tx.put_triggers(tenant.id, job.id, &spec.triggers, now, |trigger| first_due(trigger, tenant, job.id, now).unwrap_or(None))
        .await?;
    Ok(result)
}

/// When a schedule is due first. A `~` in the line is resolved by the job, which the file's check could not know.
fn first_due(trigger: &TriggerSpec, tenant: &Tenant, job: Id, now: Timestamp) -> Result<Option<Timestamp>, String> {
    let TriggerSpec::Schedule(spec) = trigger else { return Ok(None) };
    Ok(spec.of(job, tenant.zone)?.after(now))
}

/// The job as it is kept: schedules with their zone, so that another zone of the tenant is seen as their change; and gone
/// through JSON once, so that numbers compare as they will be read back.
fn as_stored(file: &TenantFile, n: usize) -> Result<JobSpec> {
    let mut spec = file.jobs[n].clone();
    for trigger in &mut spec.triggers {
        if let TriggerSpec::Schedule(schedule) = trigger {
            schedule.zone.get_or_insert(file.zone);
        }
    }
    Ok(serde_json::from_str(&serde_json::to_string(&spec)?)?)
}

/// Takes a job that is not wanted any more out of service, and notes it. `Err` within: why it is refused.
async fn remove_job(tx: &mut Tx, job: &Job, who: &Who, now: Timestamp, changes: &mut Vec<Change>) -> Result<Result<(), String>> {
    let runs = tx.unfinished_of(job.tenant, job.id, REMOVE_LIMIT + 1).await?;
    if runs.len() > REMOVE_LIMIT as usize {
        return Ok(Err(format!(
            "no file names the job {} any more, which has more than {REMOVE_LIMIT} unfinished runs; cancel them first, or keep the job",
            job.spec.name
        )));
    }
    tx.remove_job(job.tenant, job.id, &who.name, now).await?;
    let object = format!("job {}/{}", job.tenant_name, job.spec.name);
    note(tx, job.tenant, who, now, changes, Change { object, result: Outcome::Removed }).await?;
    Ok(Ok(()))
}

/// Keeps the change, and enters it into the audit if there is one.
async fn note(tx: &mut Tx, tenant: Id, who: &Who, now: Timestamp, changes: &mut Vec<Change>, change: Change) -> Result<()> {
    if change.result != Outcome::UpToDate {
        tx.audit(tenant, &who.name, "apply", &change.object, Some(&serde_json::to_string(&change.result)?), now).await?;
    }
    changes.push(change);
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
