-- What a guest learned in an attempt, so that it can be run again without the world: JSON lines in gzip, gone with its run.
CREATE TABLE recording (
  tenant BIGINT NOT NULL, run BIGINT NOT NULL, attempt BIGINT NOT NULL,
  cut BIGINT NOT NULL,                                  -- it was over its limit: the end is missing
  size BIGINT NOT NULL, packed BYTEA NOT NULL, PRIMARY KEY (tenant, run, attempt)
);
