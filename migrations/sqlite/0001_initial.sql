-- The whole schema. All integers are 64 bits; instants are Unix milliseconds UTC, durations milliseconds; text that is
-- JSON says so. Ids of runs are time-sortable (src/id.rs); the other ids come from the same source. `docs/store.md` explains.

-- ---- who, what and why -------------------------------------------------------------------------------------------

CREATE TABLE setting (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE tenant (
  id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL UNIQUE, zone TEXT NOT NULL, weight BIGINT NOT NULL,
  max_running BIGINT NOT NULL, starts_per_minute BIGINT NOT NULL, max_waiting BIGINT NOT NULL,
  spec TEXT NOT NULL,                             -- JSON: labels, ceiling, alerts, as applied
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, removed_at BIGINT
);

CREATE TABLE job (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, name TEXT NOT NULL,
  revision BIGINT NOT NULL,                       -- the current row of job_revision
  class TEXT NOT NULL, priority BIGINT NOT NULL, max_live BIGINT NOT NULL,
  paused_at BIGINT, paused_until BIGINT, paused_by TEXT,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, removed_at BIGINT,
  UNIQUE (tenant, name)
);

-- A definition as it was applied; a run names the revision it was made from, so no run copies its job's configuration.
CREATE TABLE job_revision (
  id BIGINT NOT NULL PRIMARY KEY, job BIGINT NOT NULL, tenant BIGINT NOT NULL,
  spec TEXT NOT NULL,                             -- JSON: the job as applied, triggers and grant included
  digest TEXT NOT NULL,                           -- of the plugin that `plugin` in the spec stood for
  created_at BIGINT NOT NULL, created_by TEXT NOT NULL
);
CREATE INDEX job_revision_job ON job_revision (job, id);

-- What the job's plugin may do now: the current grant, not the revision's, so that taking a right away works at once.
CREATE TABLE job_grant (job BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, spec TEXT NOT NULL, granted_by TEXT NOT NULL, granted_at BIGINT NOT NULL);

CREATE TABLE trigger (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, position BIGINT NOT NULL,
  kind TEXT NOT NULL, spec TEXT NOT NULL,         -- JSON
  UNIQUE (job, position)
);
CREATE TABLE schedule (                           -- the moving part of a trigger of kind `schedule`
  trigger_id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, enabled BIGINT NOT NULL, next_due_at BIGINT
);
CREATE INDEX schedule_due ON schedule (next_due_at) WHERE enabled = 1;
CREATE TABLE occurrence (
  trigger_id BIGINT NOT NULL, due_at BIGINT NOT NULL, tenant BIGINT NOT NULL, job BIGINT NOT NULL,
  result TEXT NOT NULL,                           -- ran, late, merged, skipped, missed, suppressed
  run BIGINT, note TEXT, recorded_at BIGINT NOT NULL, PRIMARY KEY (trigger_id, due_at)
) WITHOUT ROWID;
CREATE INDEX occurrence_job ON occurrence (job, due_at);

CREATE TABLE probe (                              -- the moving part of a trigger of kind `backlog`
  trigger_id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, next_at BIGINT NOT NULL,
  failed BIGINT NOT NULL,                         -- failures in a row
  size BIGINT, age_ms BIGINT, sampled_at BIGINT, error TEXT, error_at BIGINT,
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
  job BIGINT NOT NULL, at BIGINT NOT NULL, tenant BIGINT NOT NULL, size BIGINT, age_ms BIGINT, error TEXT, PRIMARY KEY (job, at)
) WITHOUT ROWID;

CREATE TABLE health (                             -- what the watchdog last said of a job
  job BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, health TEXT NOT NULL, why TEXT NOT NULL, since BIGINT NOT NULL,
  last_success_at BIGINT, last_end_at BIGINT, failed_in_a_row BIGINT NOT NULL
);

-- ---- runs: the state is the table (ready | later -> lease -> done) ------------------------------------------------

CREATE TABLE ready (                              -- due now; in the order of ids
  job BIGINT NOT NULL, id BIGINT NOT NULL, tenant BIGINT NOT NULL, revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, failed BIGINT NOT NULL,
  lost BIGINT NOT NULL, snoozed BIGINT NOT NULL, first_started_at BIGINT, start_by BIGINT, PRIMARY KEY (job, id)
) WITHOUT ROWID;
CREATE TABLE later (                              -- due at `due_at`
  due_at BIGINT NOT NULL, job BIGINT NOT NULL, id BIGINT NOT NULL, tenant BIGINT NOT NULL, revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, failed BIGINT NOT NULL,
  lost BIGINT NOT NULL, snoozed BIGINT NOT NULL, first_started_at BIGINT, start_by BIGINT, why TEXT NOT NULL, PRIMARY KEY (due_at, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX later_tenant ON later (tenant, id);
CREATE INDEX later_job ON later (job, id);
CREATE TABLE lease (                              -- running: a node has the right to the run, fenced by `fence`
  id INTEGER PRIMARY KEY, job BIGINT NOT NULL, tenant BIGINT NOT NULL, revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, fence BIGINT NOT NULL, failed BIGINT NOT NULL,
  lost BIGINT NOT NULL, snoozed BIGINT NOT NULL, first_started_at BIGINT, start_by BIGINT, node BIGINT NOT NULL, started_at BIGINT NOT NULL
);
CREATE INDEX lease_tenant ON lease (tenant, job);
CREATE TABLE done (                               -- history, the last attempt folded in
  tenant BIGINT NOT NULL, id BIGINT NOT NULL, job BIGINT NOT NULL, revision BIGINT NOT NULL, state BIGINT NOT NULL, reason BIGINT NOT NULL,
  cause BIGINT NOT NULL, payload BIGINT NOT NULL, attempt BIGINT NOT NULL, failed BIGINT NOT NULL, lost BIGINT NOT NULL, snoozed BIGINT NOT NULL,
  node BIGINT, created_at BIGINT NOT NULL, started_at BIGINT, ended_at BIGINT NOT NULL,
  taken BIGINT, done BIGINT, undone BIGINT, remain BIGINT, print BIGINT, message TEXT, PRIMARY KEY (tenant, id)
) WITHOUT ROWID;
CREATE INDEX done_job ON done (job, id);
CREATE INDEX done_bad ON done (tenant, state, id) WHERE state <> 0;
CREATE INDEX done_job_bad ON done (job, id) WHERE state <> 0;
CREATE INDEX done_print ON done (tenant, print, id) WHERE state = 1;

CREATE TABLE attempt (                            -- attempts before the last
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL, node BIGINT NOT NULL, started_at BIGINT NOT NULL,
  ended_at BIGINT NOT NULL, outcome TEXT NOT NULL, message TEXT, delay_ms BIGINT, PRIMARY KEY (tenant, run, attempt)
) WITHOUT ROWID;
CREATE TABLE payload (                            -- a row only for runs with input, output, parent or details
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, input TEXT, output TEXT, details TEXT, parent BIGINT,
  requested_by TEXT, PRIMARY KEY (tenant, run)
) WITHOUT ROWID;
CREATE TABLE live (                               -- "one live run": made by enqueue, gone with the end
  job BIGINT NOT NULL, key TEXT NOT NULL, run BIGINT NOT NULL, PRIMARY KEY (job, key)
) WITHOUT ROWID;
CREATE UNIQUE INDEX live_run ON live (run);
CREATE TABLE dedupe (
  job BIGINT NOT NULL, key TEXT NOT NULL, request_hash TEXT NOT NULL, run BIGINT NOT NULL, expires_at BIGINT NOT NULL, PRIMARY KEY (job, key)
) WITHOUT ROWID;
CREATE INDEX dedupe_expires ON dedupe (expires_at);
CREATE TABLE settled (                            -- dead runs that need nobody any more: run again (as `rerun`) or discarded
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, at BIGINT NOT NULL, by TEXT NOT NULL, rerun BIGINT, PRIMARY KEY (tenant, run)
) WITHOUT ROWID;
CREATE TABLE cancel (run BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, at BIGINT NOT NULL, by TEXT NOT NULL); -- asked of running runs

CREATE TABLE progress (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, done BIGINT NOT NULL, total BIGINT, message TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (tenant, run)
) WITHOUT ROWID;
CREATE TABLE log (                                -- chunks of JSON lines, deflated
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL, seq BIGINT NOT NULL, first_line BIGINT NOT NULL, lines BIGINT NOT NULL,
  dropped BIGINT NOT NULL, chunk BLOB NOT NULL, PRIMARY KEY (tenant, run, attempt, seq)
) WITHOUT ROWID;
CREATE TABLE item (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, name TEXT NOT NULL, position BIGINT NOT NULL, state BIGINT NOT NULL, input TEXT,
  message TEXT, output TEXT, attempt BIGINT NOT NULL, deliveries BIGINT NOT NULL, lease_by TEXT, lease_until BIGINT, fence BIGINT NOT NULL, ended_at BIGINT,
  PRIMARY KEY (tenant, run, name)
) WITHOUT ROWID;
CREATE INDEX item_open ON item (tenant, run, state, position);
CREATE TABLE http_call (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL, seq BIGINT NOT NULL, at BIGINT NOT NULL, method TEXT NOT NULL, url TEXT NOT NULL,
  status BIGINT, sent_bytes BIGINT NOT NULL, received_bytes BIGINT NOT NULL, duration_ms BIGINT NOT NULL, error TEXT, PRIMARY KEY (tenant, run, attempt, seq)
) WITHOUT ROWID;
CREATE TABLE artifact (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, name TEXT NOT NULL, media_type TEXT NOT NULL, bytes BIGINT NOT NULL, digest TEXT NOT NULL,
  place TEXT NOT NULL, created_at BIGINT NOT NULL, PRIMARY KEY (tenant, run, name)
) WITHOUT ROWID;
CREATE TABLE job_state (job BIGINT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, version BIGINT NOT NULL, updated_at BIGINT NOT NULL, PRIMARY KEY (job, key)) WITHOUT ROWID;

-- Counters, summed a batch. The minute stands first so that a batch touches one page, the node so that no two share a row.
CREATE TABLE tally (
  minute BIGINT NOT NULL, tenant BIGINT NOT NULL, job BIGINT NOT NULL, node BIGINT NOT NULL, enqueued BIGINT NOT NULL, succeeded BIGINT NOT NULL,
  retried BIGINT NOT NULL, dead BIGINT NOT NULL, cancelled BIGINT NOT NULL, done BIGINT NOT NULL, busy_ms BIGINT NOT NULL, PRIMARY KEY (minute, tenant, job, node)
) WITHOUT ROWID;
CREATE TABLE tally_hour (
  tenant BIGINT NOT NULL, job BIGINT NOT NULL, hour BIGINT NOT NULL, enqueued BIGINT NOT NULL, succeeded BIGINT NOT NULL,
  retried BIGINT NOT NULL, dead BIGINT NOT NULL, cancelled BIGINT NOT NULL, done BIGINT NOT NULL, busy_ms BIGINT NOT NULL, PRIMARY KEY (tenant, job, hour)
) WITHOUT ROWID;

-- ---- plugins, secrets, people, nodes ------------------------------------------------------------------------------

CREATE TABLE plugin (
  digest TEXT NOT NULL, tenant BIGINT NOT NULL,   -- tenant 0: the server's, for everybody
  name TEXT NOT NULL, version TEXT NOT NULL, exports TEXT NOT NULL, imports TEXT NOT NULL, description TEXT NOT NULL,
  bytes BIGINT NOT NULL, state TEXT NOT NULL, error TEXT, pushed_at BIGINT NOT NULL, pushed_by TEXT NOT NULL, signature TEXT,
  PRIMARY KEY (tenant, name, version)
) WITHOUT ROWID;
CREATE INDEX plugin_digest ON plugin (digest);
CREATE TABLE plugin_bytes (digest TEXT NOT NULL PRIMARY KEY, bytes BLOB NOT NULL);

CREATE TABLE secret (
  tenant BIGINT NOT NULL, name TEXT NOT NULL, nonce BLOB NOT NULL, sealed BLOB NOT NULL, version BIGINT NOT NULL,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, used_at BIGINT, PRIMARY KEY (tenant, name)
) WITHOUT ROWID;
CREATE TABLE member (
  name TEXT NOT NULL, tenant BIGINT NOT NULL,     -- tenant 0: the whole server
  role TEXT NOT NULL, password_hash TEXT, created_at BIGINT NOT NULL, PRIMARY KEY (name, tenant)
) WITHOUT ROWID;
CREATE TABLE token (
  id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, tenant BIGINT NOT NULL, role TEXT NOT NULL, hash TEXT NOT NULL UNIQUE,
  created_at BIGINT NOT NULL, created_by TEXT NOT NULL, expires_at BIGINT, used_at BIGINT, revoked_at BIGINT
);
CREATE TABLE session (hash TEXT NOT NULL PRIMARY KEY, member TEXT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL) WITHOUT ROWID;
CREATE INDEX session_expires ON session (expires_at);
CREATE TABLE audit (
  id BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL, tenant BIGINT NOT NULL, who TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT
);
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE TABLE alert (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, kind TEXT NOT NULL, message TEXT NOT NULL,
  opened_at BIGINT NOT NULL, closed_at BIGINT, sent_at BIGINT, silenced_until BIGINT
);
CREATE INDEX alert_open ON alert (tenant, job, kind) WHERE closed_at IS NULL;
CREATE TABLE operation (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, kind TEXT NOT NULL, spec TEXT NOT NULL, total BIGINT NOT NULL, done BIGINT NOT NULL,
  failed BIGINT NOT NULL, state TEXT NOT NULL, cursor BIGINT NOT NULL, started_at BIGINT NOT NULL, ended_at BIGINT, by TEXT NOT NULL
);
CREATE TABLE node (
  id BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, generation BIGINT NOT NULL, beat BIGINT NOT NULL, beat_at BIGINT NOT NULL,
  started_at BIGINT NOT NULL, stopped_at BIGINT, version TEXT NOT NULL, listen TEXT NOT NULL, roles TEXT NOT NULL
);
