-- The same tables as migrations/sqlite/0001_initial.sql, where they are explained; a test compares the two. Text sorts by its
-- bytes, as in SQLite. `ready`, `later` and `lease` live on inserts and deletes: room in the pages, and an eager vacuum.

-- ---- who, what and why -------------------------------------------------------------------------------------------

CREATE TABLE setting (key TEXT COLLATE "C" NOT NULL PRIMARY KEY, value TEXT COLLATE "C" NOT NULL);

CREATE TABLE tenant (
  id BIGINT NOT NULL PRIMARY KEY, name TEXT COLLATE "C" NOT NULL UNIQUE, zone TEXT COLLATE "C" NOT NULL, weight BIGINT NOT NULL,
  max_running BIGINT NOT NULL, starts_per_minute BIGINT NOT NULL, max_waiting BIGINT NOT NULL,
  spec TEXT COLLATE "C" NOT NULL,                             -- JSON: labels, ceiling, alerts, as applied
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, removed_at BIGINT
);

CREATE TABLE job (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL,
  revision BIGINT NOT NULL,                       -- the current row of job_revision
  class TEXT COLLATE "C" NOT NULL, priority BIGINT NOT NULL, max_live BIGINT NOT NULL,
  paused_at BIGINT, paused_until BIGINT, paused_by TEXT COLLATE "C",
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, removed_at BIGINT,
  UNIQUE (tenant, name)
);

-- A definition as it was applied; a run names the revision it was made from, so no run copies its job's configuration.
CREATE TABLE job_revision (
  id BIGINT NOT NULL PRIMARY KEY, job BIGINT NOT NULL, tenant BIGINT NOT NULL,
  spec TEXT COLLATE "C" NOT NULL,                             -- JSON: the job as applied, triggers and grant included
  digest TEXT COLLATE "C" NOT NULL,                           -- of the plugin that `plugin` in the spec stood for
  created_at BIGINT NOT NULL, created_by TEXT COLLATE "C" NOT NULL
);
CREATE INDEX job_revision_job ON job_revision (job, id);

-- What the job's plugin may do now: the current grant, not the revision's, so that taking a right away works at once.
CREATE TABLE job_grant (job BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, spec TEXT COLLATE "C" NOT NULL, granted_by TEXT COLLATE "C" NOT NULL, granted_at BIGINT NOT NULL);

CREATE TABLE trigger (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, position BIGINT NOT NULL,
  kind TEXT COLLATE "C" NOT NULL, spec TEXT COLLATE "C" NOT NULL,         -- JSON
  UNIQUE (job, position)
);
CREATE TABLE schedule (                           -- the moving part of a trigger of kind `schedule`
  trigger_id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, enabled BIGINT NOT NULL, next_due_at BIGINT
);
CREATE INDEX schedule_due ON schedule (next_due_at) WHERE enabled = 1;
CREATE TABLE occurrence (
  trigger_id BIGINT NOT NULL, due_at BIGINT NOT NULL, tenant BIGINT NOT NULL, job BIGINT NOT NULL,
  result TEXT COLLATE "C" NOT NULL,                           -- ran, late, merged, skipped, missed, suppressed
  run BIGINT, note TEXT COLLATE "C", recorded_at BIGINT NOT NULL, PRIMARY KEY (trigger_id, due_at)
);
CREATE INDEX occurrence_job ON occurrence (job, due_at);

CREATE TABLE probe (                              -- the moving part of a trigger of kind `backlog`
  trigger_id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, next_at BIGINT NOT NULL,
  failed BIGINT NOT NULL,                         -- failures in a row
  size BIGINT, age_ms BIGINT, sampled_at BIGINT, error TEXT COLLATE "C", error_at BIGINT,
  clear_at BIGINT,                                -- when the target was last known to have nothing to take
  fruitless BIGINT NOT NULL,                      -- runs in a row that took nothing though work stood
  stuck_size BIGINT,                              -- the backlog that the last fruitless run left
  next_run_at BIGINT NOT NULL,                    -- no run for the backlog before
  done_at BIGINT,                                 -- when a run last got something done
  dead BIGINT NOT NULL                            -- runs in a row that died
);
CREATE INDEX probe_due ON probe (next_at);
CREATE INDEX probe_job ON probe (job);
CREATE TABLE backlog_sample (
  job BIGINT NOT NULL, at BIGINT NOT NULL, tenant BIGINT NOT NULL, size BIGINT, age_ms BIGINT, error TEXT COLLATE "C", PRIMARY KEY (job, at)
);

CREATE TABLE health (                             -- what the watchdog last said of a job
  job BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, health TEXT COLLATE "C" NOT NULL, why TEXT COLLATE "C" NOT NULL, since BIGINT NOT NULL,
  last_success_at BIGINT, last_end_at BIGINT, failed_in_a_row BIGINT NOT NULL
);

-- ---- runs: the state is the table (ready | later -> lease -> done) ------------------------------------------------

CREATE TABLE ready (                              -- due now; in the order of ids
  job BIGINT NOT NULL, id BIGINT NOT NULL, tenant BIGINT NOT NULL, revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, failed BIGINT NOT NULL,
  lost BIGINT NOT NULL, snoozed BIGINT NOT NULL, first_started_at BIGINT, start_by BIGINT, PRIMARY KEY (job, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE TABLE later (                              -- due at `due_at`
  due_at BIGINT NOT NULL, job BIGINT NOT NULL, id BIGINT NOT NULL, tenant BIGINT NOT NULL, revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, failed BIGINT NOT NULL,
  lost BIGINT NOT NULL, snoozed BIGINT NOT NULL, first_started_at BIGINT, start_by BIGINT, why TEXT COLLATE "C" NOT NULL, PRIMARY KEY (due_at, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE UNIQUE INDEX later_tenant ON later (tenant, id);
CREATE INDEX later_job ON later (job, id);
CREATE TABLE lease (                              -- running: a node has the right to the run, fenced by `fence`
  id BIGINT NOT NULL PRIMARY KEY, job BIGINT NOT NULL, tenant BIGINT NOT NULL, revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, failed BIGINT NOT NULL,
  lost BIGINT NOT NULL, snoozed BIGINT NOT NULL, first_started_at BIGINT, start_by BIGINT, node BIGINT NOT NULL, started_at BIGINT NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX lease_tenant ON lease (tenant, job);
CREATE TABLE done (                               -- history, the last attempt folded in
  tenant BIGINT NOT NULL, id BIGINT NOT NULL, job BIGINT NOT NULL, revision BIGINT NOT NULL, state BIGINT NOT NULL, reason BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, failed BIGINT NOT NULL, lost BIGINT NOT NULL, snoozed BIGINT NOT NULL,
  node BIGINT, created_at BIGINT NOT NULL, started_at BIGINT, ended_at BIGINT NOT NULL,
  taken BIGINT, done BIGINT, undone BIGINT, remain BIGINT, print BIGINT, message TEXT COLLATE "C", PRIMARY KEY (tenant, id)
);
CREATE INDEX done_job ON done (job, id);
CREATE INDEX done_bad ON done (tenant, state, id) WHERE state <> 0;
CREATE INDEX done_job_bad ON done (job, id) WHERE state <> 0;
CREATE INDEX done_print ON done (tenant, print, id) WHERE state = 1;

CREATE TABLE attempt (                            -- attempts before the last
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL, node BIGINT NOT NULL, started_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL, outcome TEXT COLLATE "C" NOT NULL, message TEXT COLLATE "C", delay_ms BIGINT, PRIMARY KEY (tenant, run, attempt)
);
CREATE TABLE payload (                            -- a row only for runs with input, output, parent or details
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, input TEXT COLLATE "C", output TEXT COLLATE "C", details TEXT COLLATE "C", parent BIGINT,
  requested_by TEXT COLLATE "C", PRIMARY KEY (tenant, run)
);
CREATE TABLE live (                               -- "one live run": made by enqueue, gone with the end
  job BIGINT NOT NULL, key TEXT COLLATE "C" NOT NULL, run BIGINT NOT NULL, PRIMARY KEY (job, key)
);
CREATE UNIQUE INDEX live_run ON live (run);
CREATE TABLE dedupe (
  job BIGINT NOT NULL, key TEXT COLLATE "C" NOT NULL, request_hash TEXT COLLATE "C" NOT NULL, run BIGINT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (job, key)
);
CREATE INDEX dedupe_expires ON dedupe (expires_at);
CREATE TABLE settled (                            -- dead runs that need nobody any more: run again (as `rerun`) or discarded
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, at BIGINT NOT NULL, by TEXT COLLATE "C" NOT NULL, rerun BIGINT, PRIMARY KEY (tenant, run)
);
CREATE TABLE cancel (run BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, at BIGINT NOT NULL, by TEXT COLLATE "C" NOT NULL); -- asked of running runs

CREATE TABLE progress (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, done BIGINT NOT NULL, total BIGINT, message TEXT COLLATE "C" NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (tenant, run)
);
CREATE TABLE log (                                -- chunks of JSON lines, deflated
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL, seq BIGINT NOT NULL, first_line BIGINT NOT NULL, lines BIGINT NOT NULL,
  dropped BIGINT NOT NULL, chunk BYTEA NOT NULL, PRIMARY KEY (tenant, run, attempt, seq)
);
CREATE TABLE item (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, position BIGINT NOT NULL, state BIGINT NOT NULL, input TEXT COLLATE "C",
  message TEXT COLLATE "C", output TEXT COLLATE "C", attempt BIGINT NOT NULL, deliveries BIGINT NOT NULL, lease_by TEXT COLLATE "C", lease_until BIGINT, fence BIGINT NOT NULL, ended_at BIGINT,
  PRIMARY KEY (tenant, run, name)
);
CREATE INDEX item_open ON item (tenant, run, state, position);
CREATE TABLE http_call (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL, seq BIGINT NOT NULL, at BIGINT NOT NULL, method TEXT COLLATE "C" NOT NULL, url TEXT COLLATE "C" NOT NULL,
  status BIGINT, sent_bytes BIGINT NOT NULL, received_bytes BIGINT NOT NULL, duration_ms BIGINT NOT NULL, error TEXT COLLATE "C", PRIMARY KEY (tenant, run, attempt, seq)
);
CREATE TABLE artifact (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, media_type TEXT COLLATE "C" NOT NULL, bytes BIGINT NOT NULL, digest TEXT COLLATE "C" NOT NULL,
  place TEXT COLLATE "C" NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (tenant, run, name)
);
CREATE TABLE job_state (job BIGINT NOT NULL, key TEXT COLLATE "C" NOT NULL, value BYTEA NOT NULL, version BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (job, key));

-- Counters, summed a batch. The minute stands first so that a batch touches one page, the node so that no two share a row.
CREATE TABLE tally (
  minute BIGINT NOT NULL, tenant BIGINT NOT NULL, job BIGINT NOT NULL, node BIGINT NOT NULL, enqueued BIGINT NOT NULL, succeeded BIGINT NOT NULL,
  retried BIGINT NOT NULL, dead BIGINT NOT NULL, cancelled BIGINT NOT NULL, done BIGINT NOT NULL, busy_ms BIGINT NOT NULL, PRIMARY KEY (minute, tenant, job, node)
);
CREATE TABLE tally_hour (
  tenant BIGINT NOT NULL, job BIGINT NOT NULL, hour BIGINT NOT NULL, enqueued BIGINT NOT NULL, succeeded BIGINT NOT NULL,
  retried BIGINT NOT NULL, dead BIGINT NOT NULL, cancelled BIGINT NOT NULL, done BIGINT NOT NULL, busy_ms BIGINT NOT NULL, PRIMARY KEY (tenant, job, hour)
);

-- ---- plugins, secrets, people, nodes ------------------------------------------------------------------------------

CREATE TABLE plugin (
  digest TEXT COLLATE "C" NOT NULL, tenant BIGINT NOT NULL,   -- tenant 0: the server's, for everybody
  name TEXT COLLATE "C" NOT NULL, version TEXT COLLATE "C" NOT NULL, exports TEXT COLLATE "C" NOT NULL, imports TEXT COLLATE "C" NOT NULL, description TEXT COLLATE "C" NOT NULL,
  bytes BIGINT NOT NULL, state TEXT COLLATE "C" NOT NULL, error TEXT COLLATE "C", pushed_at BIGINT NOT NULL, pushed_by TEXT COLLATE "C" NOT NULL, signature TEXT COLLATE "C",
  PRIMARY KEY (tenant, name, version)
);
CREATE INDEX plugin_digest ON plugin (digest);
CREATE TABLE plugin_bytes (digest TEXT COLLATE "C" NOT NULL PRIMARY KEY, bytes BYTEA NOT NULL);

CREATE TABLE secret (
  tenant BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, nonce BYTEA NOT NULL, sealed BYTEA NOT NULL, version BIGINT NOT NULL,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, used_at BIGINT, PRIMARY KEY (tenant, name)
);
CREATE TABLE member (
  name TEXT COLLATE "C" NOT NULL, tenant BIGINT NOT NULL,     -- tenant 0: the whole server
  role TEXT COLLATE "C" NOT NULL, password_hash TEXT COLLATE "C", created_at BIGINT NOT NULL, PRIMARY KEY (name, tenant)
);
CREATE TABLE token (
  id BIGINT NOT NULL PRIMARY KEY, name TEXT COLLATE "C" NOT NULL, tenant BIGINT NOT NULL, role TEXT COLLATE "C" NOT NULL, hash TEXT COLLATE "C" NOT NULL UNIQUE,
  created_at BIGINT NOT NULL, created_by TEXT COLLATE "C" NOT NULL, expires_at BIGINT, used_at BIGINT, revoked_at BIGINT
);
CREATE TABLE session (hash TEXT COLLATE "C" NOT NULL PRIMARY KEY, member TEXT COLLATE "C" NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL);
CREATE INDEX session_expires ON session (expires_at);
CREATE TABLE audit (
  id BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, tenant BIGINT NOT NULL, who TEXT COLLATE "C" NOT NULL, action TEXT COLLATE "C" NOT NULL, object TEXT COLLATE "C" NOT NULL, detail TEXT COLLATE "C"
);
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE TABLE alert (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, kind TEXT COLLATE "C" NOT NULL, message TEXT COLLATE "C" NOT NULL,
  opened_at BIGINT NOT NULL, closed_at BIGINT, sent_at BIGINT, silenced_until BIGINT
);
CREATE INDEX alert_open ON alert (tenant, job, kind) WHERE closed_at IS NULL;
CREATE TABLE operation (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, kind TEXT COLLATE "C" NOT NULL, spec TEXT COLLATE "C" NOT NULL, total BIGINT NOT NULL, done BIGINT NOT NULL,
  failed BIGINT NOT NULL, state TEXT COLLATE "C" NOT NULL, cursor BIGINT NOT NULL, started_at BIGINT NOT NULL, ended_at BIGINT, by TEXT COLLATE "C" NOT NULL
);
CREATE TABLE node (
  id BIGINT NOT NULL PRIMARY KEY, name TEXT COLLATE "C" NOT NULL, generation BIGINT NOT NULL, beat BIGINT NOT NULL, beat_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL, stopped_at BIGINT, version TEXT COLLATE "C" NOT NULL, listen TEXT COLLATE "C" NOT NULL, roles TEXT COLLATE "C" NOT NULL
);
