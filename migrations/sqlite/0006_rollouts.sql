-- A new version of a job's plugin beside the old one: its share of the runs in parts of a million, where it stands, and the
-- attempts of both since it began.
CREATE TABLE rollout (
  job BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, old_digest TEXT NOT NULL, new_digest TEXT NOT NULL, share BIGINT NOT NULL,
  stage TEXT NOT NULL,                     -- running, paused, rolled_back, promoted
  moved BIGINT NOT NULL,                 -- 1: runs that began with the new version go on with the old one
  why TEXT, began_at BIGINT NOT NULL, changed_at BIGINT NOT NULL, changed_by TEXT NOT NULL,
  old_done BIGINT NOT NULL, old_failed BIGINT NOT NULL, new_done BIGINT NOT NULL, new_failed BIGINT NOT NULL, in_a_row BIGINT NOT NULL
);
-- The digest that a run used, where that is not its revision's.
CREATE TABLE run_plugin (tenant BIGINT NOT NULL, run BIGINT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (tenant, run)) WITHOUT ROWID;
