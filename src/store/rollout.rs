//! New versions of jobs' plugins beside the old ones, and what single runs used.

use std::collections::HashMap;

use super::sql::{Row, Sql, args};
use super::tx::{Tx, expect_rows};
use crate::clock::Timestamp;
use crate::domain::rollout::{Rollout, Stage, Tally};
use crate::error::{Error, Result};
use crate::id::Id;

static ALL: Sql = Sql::new("SELECT * FROM rollout");
static ONE: Sql = Sql::new("SELECT * FROM rollout WHERE job = $1");
static PUT: Sql = Sql::new(
    "INSERT INTO rollout (job, tenant, old_digest, new_digest, share, stage, moved, why, began_at, changed_at, changed_by, old_done, \
     old_failed, new_done, new_failed, in_a_row) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
     ON CONFLICT (job) DO UPDATE SET old_digest = excluded.old_digest, new_digest = excluded.new_digest, share = excluded.share, \
     stage = excluded.stage, moved = excluded.moved, why = excluded.why, began_at = excluded.began_at, changed_at = excluded.changed_at, \
     changed_by = excluded.changed_by, old_done = excluded.old_done, old_failed = excluded.old_failed, new_done = excluded.new_done, \
     new_failed = excluded.new_failed, in_a_row = excluded.in_a_row",
);
static REMOVE: Sql = Sql::new("DELETE FROM rollout WHERE job = $1");
static STAGE: Sql = Sql::new(
    "UPDATE rollout SET stage = $1, moved = $2, why = $3, changed_at = $4, changed_by = $5 WHERE job = $6 AND stage = $7",
);
static OLD_ENDED: Sql =
    Sql::new("UPDATE rollout SET old_done = old_done + $1, old_failed = old_failed + $2 WHERE job = $3 AND stage = 'running'");
static NEW_DONE: Sql = Sql::new("UPDATE rollout SET new_done = new_done + 1, in_a_row = 0 WHERE job = $1 AND stage = 'running'");
static NEW_FAILED: Sql =
    Sql::new("UPDATE rollout SET new_failed = new_failed + 1, in_a_row = in_a_row + 1 WHERE job = $1 AND stage = 'running'");
static USED: Sql = Sql::new("SELECT digest FROM run_plugin WHERE tenant = $1 AND run = $2");
static USE: Sql = Sql::new(
    "INSERT INTO run_plugin (tenant, run, digest) VALUES ($1, $2, $3) ON CONFLICT (tenant, run) DO UPDATE SET digest = excluded.digest",
);
static USED_BY: Sql = Sql::new("SELECT run, digest FROM run_plugin WHERE (tenant, run) IN (VALUES {2})");
static CUT: Sql = Sql::new("DELETE FROM run_plugin WHERE (tenant, run) IN (VALUES {2})");

impl Tx {
    /// Of all jobs that have one.
    pub async fn rollouts(&mut self) -> Result<HashMap<Id, Rollout>> {
        self.rows(&ALL, args![]).await?.iter().map(|row| Ok((row.id("job")?, rollout(row)?))).collect()
    }

    pub async fn rollout(&mut self, job: Id) -> Result<Option<Rollout>> {
        self.row(&ONE, args![job]).await?.as_ref().map(rollout).transpose()
    }

    /// Begins one in the place of any that was there.
    pub async fn put_rollout(&mut self, r: &Rollout) -> Result<()> {
        let Tally { old_done, old_failed, new_done, new_failed, in_a_row } = r.tally;
        let args = args![
            r.job,
            r.tenant,
            &r.old,
            &r.new,
            r.share,
            r.stage.word(),
            r.moved,
            r.why.clone(),
            r.began_at,
            r.changed_at,
            &r.changed_by,
            old_done,
            old_failed,
            new_done,
            new_failed,
            in_a_row
        ];
        self.exec(&PUT, args).await?;
        self.redefine();
        Ok(())
    }

    pub async fn remove_rollout(&mut self, job: Id) -> Result<()> {
        self.exec(&REMOVE, args![job]).await?;
        self.redefine();
        Ok(())
    }

    /// Brings it from one stage to another.
    ///
    /// # Errors
    /// `Internal` when it stands elsewhere: read it in the same transaction.
    pub async fn move_rollout(&mut self, from: &Rollout, to: &Rollout) -> Result<()> {
        let args = args![to.stage.word(), to.moved, to.why.clone(), to.changed_at, &to.changed_by, from.job, from.stage.word()];
        expect_rows(self.exec(&STAGE, args).await?, 1, "move a rollout")?;
        self.redefine();
        Ok(())
    }

    /// Counts an attempt of a job while its rollout is running; answers the rollout with it.
    pub async fn rollout_ended(&mut self, job: Id, is_new: bool, failed: bool) -> Result<Option<Rollout>> {
        match (is_new, failed) {
            (true, false) => self.exec(&NEW_DONE, args![job]).await?,
            (true, true) => self.exec(&NEW_FAILED, args![job]).await?,
            (false, failed) => self.exec(&OLD_ENDED, args![u64::from(!failed), u64::from(failed), job]).await?,
        };
        self.rollout(job).await
    }

    /// The digest that a run used, where that is not its revision's.
    pub async fn used_digest(&mut self, tenant: Id, run: Id) -> Result<Option<String>> {
        self.row(&USED, args![tenant, run]).await?.map(|row| row.text("digest")).transpose()
    }

    pub async fn used_digests_of(&mut self, tenant: Id, runs: &[Id]) -> Result<HashMap<Id, String>> {
        let keys: Vec<_> = runs.iter().map(|run| args![tenant, *run]).collect();
        self.rows_for(&USED_BY, &keys).await?.iter().map(|row| Ok((row.id("run")?, row.text("digest")?))).collect()
    }

    pub async fn use_digest(&mut self, tenant: Id, run: Id, digest: &str) -> Result<()> {
        self.exec(&USE, args![tenant, run, digest]).await?;
        Ok(())
    }

    pub(super) async fn prune_used_digests(&mut self, runs: &[Vec<super::sql::Arg>]) -> Result<()> {
        self.exec_keys(&CUT, runs).await?;
        Ok(())
    }
}

fn rollout(row: &Row) -> Result<Rollout> {
    let stage = row.text("stage")?;
    Ok(Rollout {
        job: row.id("job")?,
        tenant: row.id("tenant")?,
        old: row.text("old_digest")?,
        new: row.text("new_digest")?,
        share: row.small("share")?,
        stage: Stage::parse(&stage).ok_or_else(|| Error::Internal(anyhow::anyhow!("{stage} is no stage of a rollout")))?,
        moved: row.int("moved")? != 0,
        why: row.opt_text("why")?,
        began_at: Timestamp(row.int("began_at")?),
        changed_at: row.time("changed_at")?,
        changed_by: row.text("changed_by")?,
        tally: Tally {
            old_done: row.count("old_done")?,
            old_failed: row.count("old_failed")?,
            new_done: row.count("new_done")?,
            new_failed: row.count("new_failed")?,
            in_a_row: row.count("in_a_row")?,
        },
    })
}
