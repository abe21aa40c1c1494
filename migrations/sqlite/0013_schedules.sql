-- What waits for a run to end is an occurrence whose result is `queued`; the ledger is read by time, of a tenant or of all.
-- Two more results: queued, backfilled.
CREATE INDEX occurrence_queued ON occurrence (due_at) WHERE result = 'queued';
CREATE INDEX occurrence_tenant ON occurrence (tenant, due_at);
CREATE INDEX occurrence_due ON occurrence (due_at);

-- The job that a trigger of the kind `after` follows, by its name.
ALTER TABLE trigger ADD COLUMN follows TEXT;
CREATE INDEX trigger_follows ON trigger (tenant, follows) WHERE follows IS NOT NULL;

-- Something has happened that a job shall have a run for: a notification of a webhook, the end of a run that it follows. What
-- stands here when the first of a trigger is due, and the job may have a run, is that run's input.
CREATE TABLE notice (
  job BIGINT NOT NULL, id BIGINT NOT NULL, trigger_id BIGINT NOT NULL, tenant BIGINT NOT NULL, due_at BIGINT NOT NULL,
  payload TEXT NOT NULL,                          -- JSON
  PRIMARY KEY (job, trigger_id, id)
) WITHOUT ROWID;

-- `operation_run.run` is the dead run that an operation deals with; of a backfill it is the instant, in Unix milliseconds.
