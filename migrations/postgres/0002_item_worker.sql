-- Programs outside that take a job's items, and when each was last heard of: a run whose items wait can say for whom.
CREATE TABLE item_worker (
  tenant BIGINT NOT NULL, job BIGINT NOT NULL, name TEXT NOT NULL, seen_at BIGINT NOT NULL, PRIMARY KEY (tenant, job, name)
);
