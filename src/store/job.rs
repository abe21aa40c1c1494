//! Jobs and their revisions. A job's row points at its current revision; a run names the one it was made from.

use std::collections::HashMap;

use super::claim::unfinished;
use super::sql::{Arg, Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::grant::Grant;
use crate::domain::job::{Job, JobSpec};
use crate::error::{Error, Result};
use crate::id::Id;

static OF_TENANT: Sql = Sql::new(
    "SELECT j.id, j.tenant, j.name, t.name AS tenant_name, j.revision, r.spec, r.digest, j.paused_at, j.paused_by, j.paused_until, j.created_at, j.updated_at FROM job j \
     JOIN job_revision r ON r.id = j.revision JOIN tenant t ON t.id = j.tenant WHERE j.tenant = $1 AND j.removed_at IS NULL ORDER BY j.name",
);
static ALL: Sql = Sql::new(
    "SELECT j.id, j.tenant, j.name, t.name AS tenant_name, j.revision, r.spec, r.digest, j.paused_at, j.paused_by, j.paused_until, j.created_at, j.updated_at FROM job j \
     JOIN job_revision r ON r.id = j.revision JOIN tenant t ON t.id = j.tenant WHERE j.removed_at IS NULL AND t.removed_at IS NULL ORDER BY t.name, j.name",
);
static ONE: Sql = Sql::new(
    "SELECT j.id, j.tenant, j.name, t.name AS tenant_name, j.revision, r.spec, r.digest, j.paused_at, j.paused_by, j.paused_until, j.created_at, j.updated_at FROM job j \
     JOIN job_revision r ON r.id = j.revision JOIN tenant t ON t.id = j.tenant WHERE j.tenant = $1 AND j.name = $2 AND j.removed_at IS NULL",
);
static REVISION: Sql = Sql::new("SELECT job, spec, digest FROM job_revision WHERE id = $1");
static PUT: Sql = Sql::new(
    "INSERT INTO job (id, tenant, name, revision, class, priority, max_live, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (tenant, name) DO UPDATE SET revision = excluded.revision, class = excluded.class, priority = excluded.priority, \
     max_live = excluded.max_live, updated_at = excluded.updated_at, removed_at = NULL",
);
static PUT_REVISION: Sql = Sql::new(
    "INSERT INTO job_revision (id, job, tenant, spec, digest, created_at, created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
static PUT_GRANT: Sql = Sql::new(
    "INSERT INTO job_grant (job, tenant, spec, granted_by, granted_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (job) DO UPDATE SET \
     spec = excluded.spec, granted_by = excluded.granted_by, granted_at = excluded.granted_at",
);
static GRANT: Sql = Sql::new("SELECT spec FROM job_grant WHERE job = $1");
static GRANTS: Sql = Sql::new("SELECT job, spec FROM job_grant");
static REMOVE: Sql = Sql::new("UPDATE job SET removed_at = $1, updated_at = $1 WHERE id = $2 AND removed_at IS NULL");
static UNFINISHED: Sql = Sql::new(
    "SELECT id FROM ready WHERE job = $1 UNION ALL SELECT id FROM later WHERE job = $1 UNION ALL SELECT id FROM lease WHERE tenant = $2 AND job = $1 LIMIT $3",
);
static WAITING: Sql = Sql::new("SELECT * FROM ready WHERE job = $1");
static PUT_OFF: Sql = Sql::new("SELECT * FROM later WHERE job = $1");
static NOT_READY: Sql = Sql::new("DELETE FROM ready WHERE job = $1");
static NOT_LATER: Sql = Sql::new("DELETE FROM later WHERE job = $1");
static ASK: Sql = Sql::new(
    "INSERT INTO cancel (run, tenant, at, by) SELECT id, tenant, CAST($1 AS BIGINT), CAST($2 AS TEXT) FROM lease WHERE tenant = $3 AND job = $4 \
     ON CONFLICT (run) DO NOTHING",
);
static PAUSE: Sql =
    Sql::new("UPDATE job SET paused_at = $1, paused_by = $2, paused_until = $3, updated_at = $4 WHERE tenant = $5 AND id = $6");
static NEXT_RESUME: Sql = Sql::new("SELECT min(paused_until) AS at FROM job WHERE paused_until IS NOT NULL");
static RESUMABLE: Sql = Sql::new("SELECT id, tenant, name FROM job WHERE paused_until IS NOT NULL AND paused_until <= $1");
static NAMES: Sql = Sql::new("SELECT j.id, j.name, t.name AS tenant_name FROM job j JOIN tenant t ON t.id = j.tenant");

/// What a run was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    pub job: Id,
    pub spec: JobSpec,
    pub digest: String,
}

impl Tx {
    pub async fn jobs_of(&mut self, tenant: Id) -> Result<Vec<Job>> {
        Ok(readable(&self.rows(&OF_TENANT, args![tenant]).await?))
    }

    /// All jobs of all tenants, by names.
    pub async fn jobs(&mut self) -> Result<Vec<Job>> {
        Ok(readable(&self.rows(&ALL, args![]).await?))
    }

    pub async fn job(&mut self, tenant: Id, name: &str) -> Result<Option<Job>> {
        self.row(&ONE, args![tenant, name]).await?.as_ref().map(job).transpose()
    }

    /// # Errors
    /// `NotFound`.
    pub async fn need_job(&mut self, tenant: Id, name: &str) -> Result<Job> {
        self.job(tenant, name).await?.ok_or_else(|| Error::not_found(format!("job {name}")))
    }

    /// Names of all jobs, removed ones too: history names them. (job, tenant's name, job's name)
    pub async fn job_names(&mut self) -> Result<Vec<(Id, String, String)>> {
        self.rows(&NAMES, args![])
            .await?
            .iter()
            .map(|row| Ok((row.id("id")?, row.text("tenant_name")?, row.text("name")?)))
            .collect()
    }

    pub async fn revision(&mut self, id: Id) -> Result<Option<Revision>> {
        let row = self.row(&REVISION, args![id]).await?;
        row.map(|row| Ok(Revision { job: row.id("job")?, spec: row.json("spec")?, digest: row.text("digest")? })).transpose()
    }

    /// Makes the job, or gives the one of that name its next revision; answers it as stored.
    pub async fn put_job(&mut self, tenant: Id, spec: &JobSpec, digest: &str, by: &str, now: Timestamp) -> Result<Job> {
        // Its id alone: what cannot be read of it is what the new revision mends.
        let id = self.row(&ONE, args![tenant, &spec.name]).await?.map_or_else(|| Ok(self.new_id()), |row| row.id("id"))?;
        let revision = self.new_id();
        let args = args![id, tenant, &spec.name, revision, &spec.class, spec.priority, spec.max_live, now, now];
        self.exec(&PUT, args).await?;
        // A job that was removed keeps its id: read it back.
        let id = self.row(&ONE, args![tenant, &spec.name]).await?.map_or(Ok(id), |row| row.id("id"))?;
        self.exec(&PUT_REVISION, args![revision, id, tenant, serde_json::to_string(spec)?, digest, now, by]).await?;
        self.exec(&PUT_GRANT, args![id, tenant, serde_json::to_string(&spec.grant)?, by, now]).await?;
        self.redefine();
        self.need_job(tenant, &spec.name).await
    }

    /// The grant that holds now.
    pub async fn grant_of(&mut self, job: Id) -> Result<Grant> {
        self.row(&GRANT, args![job]).await?.map_or_else(|| Ok(Grant::default()), |row| row.json("spec"))
    }

    /// The grants that hold now, by job.
    pub async fn grants(&mut self) -> Result<HashMap<Id, Grant>> {
        let rows = self.rows(&GRANTS, args![]).await?;
        // A grant that cannot be read grants nothing; its job says so when it runs.
        rows.iter().map(|row| Ok((row.id("job")?, row.json("spec").unwrap_or_default()))).collect()
    }

    /// Runs of the job that are not over.
    pub async fn unfinished_of(&mut self, tenant: Id, job: Id, limit: u32) -> Result<Vec<Id>> {
        self.rows(&UNFINISHED, args![job, tenant, limit]).await?.iter().map(|row| row.id("id")).collect()
    }

    /// Takes the job out of service: its waiting runs are cancelled, running ones asked to stop. Its history stays.
    pub async fn remove_job(&mut self, tenant: Id, job: Id, by: &str, now: Timestamp) -> Result<()> {
        let mut waiting = Vec::new();
        for sql in [&WAITING, &PUT_OFF] {
            waiting.extend(self.rows(sql, args![job]).await?.iter().map(unfinished).collect::<Result<Vec<_>>>()?);
        }
        let gone = self.exec(&NOT_READY, args![job]).await? + self.exec(&NOT_LATER, args![job]).await?;
        expect_rows(gone, waiting.len(), "cancel the runs of a job")?;
        self.end_waiting(waiting, &format!("cancelled by {by}"), now).await?;
        self.exec(&ASK, args![now, by, tenant, job]).await?;
        let removed = self.exec(&REMOVE, args![now, job]).await?;
        self.remove_triggers(job).await?;
        self.remove_rollout(job).await?;
        self.redefine();
        expect_rows(removed, 1, "remove job")
    }

    /// Pauses it, for ever or until then.
    pub async fn pause_job(&mut self, tenant: Id, job: Id, by: &str, until: Option<Timestamp>, now: Timestamp) -> Result<()> {
        self.set_pause(tenant, job, args![now, by, until, now, tenant, job]).await
    }

    pub async fn resume_job(&mut self, tenant: Id, job: Id, now: Timestamp) -> Result<()> {
        let nothing = || None::<Timestamp>;
        self.set_pause(tenant, job, args![nothing(), None::<String>, nothing(), now, tenant, job]).await
    }

    /// When the first pause ends.
    pub async fn next_resume(&mut self) -> Result<Option<Timestamp>> {
        self.row(&NEXT_RESUME, args![]).await?.map_or(Ok(None), |row| row.opt_time("at"))
    }

    /// Jobs whose pause has ended: id, tenant, name.
    pub async fn resumable(&mut self, now: Timestamp) -> Result<Vec<(Id, Id, String)>> {
        let rows = self.rows(&RESUMABLE, args![now]).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.id("tenant")?, row.text("name")?))).collect()
    }

    async fn set_pause(&mut self, tenant: Id, job: Id, args: Vec<Arg>) -> Result<()> {
        let changed = self.exec(&PAUSE, args).await?;
        self.wake(tenant, job);
        self.redefine();
        expect_rows(changed, 1, "pause job")
    }
}

/// Without those whose definition cannot be read (a damaged row, or one of a later version): the others' work goes on.
fn readable(rows: &[Row]) -> Vec<Job> {
    let read = |row| match job(row) {
        Ok(job) => Some(job),
        Err(wrong) => {
            let (tenant, name) = (row.text("tenant_name").unwrap_or_default(), row.text("name").unwrap_or_default());
            tracing::error!(tenant.name = tenant, job.name = name, error = %wrong, "a job's definition cannot be read and it stands still; apply its file again");
            None
        }
    };
    rows.iter().filter_map(read).collect()
}

fn job(row: &Row) -> Result<Job> {
    Ok(Job {
        id: row.id("id")?,
        tenant: row.id("tenant")?,
        tenant_name: row.text("tenant_name")?,
        revision: row.id("revision")?,
        spec: row.json("spec")?,
        digest: row.text("digest")?,
        paused_at: row.opt_time("paused_at")?,
        paused_by: row.opt_text("paused_by")?,
        paused_until: row.opt_time("paused_until")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
