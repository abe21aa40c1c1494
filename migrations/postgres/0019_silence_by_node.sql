-- A silence may be of one node; 0: of any. The key changes, so the table is made anew.
CREATE TABLE silence_by_node (
  tenant BIGINT NOT NULL, job BIGINT NOT NULL, node BIGINT NOT NULL, kind TEXT NOT NULL, until BIGINT NOT NULL, by TEXT NOT NULL,
  made_at BIGINT NOT NULL, PRIMARY KEY (tenant, job, node, kind)
);
INSERT INTO silence_by_node (tenant, job, node, kind, until, by, made_at) SELECT tenant, job, 0, kind, until, by, made_at FROM silence;
DROP TABLE silence;
ALTER TABLE silence_by_node RENAME TO silence;
-- Which keys a tenant's file wrote, of the tenant (job 0) and of each job: what holds without being written is a default.
CREATE TABLE said (
  tenant BIGINT NOT NULL, job BIGINT NOT NULL, keys TEXT NOT NULL, PRIMARY KEY (tenant, job)
);
