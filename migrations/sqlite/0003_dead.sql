-- Dead runs: discarded so that it can be undone, dealt with by the thousand; and what their last attempt came to.

ALTER TABLE done ADD COLUMN outcome TEXT;               -- of a dead run's last attempt; the other states say it themselves
ALTER TABLE settled ADD COLUMN undo_until BIGINT;       -- discarded: until then it can be brought back
CREATE INDEX settled_undo ON settled (undo_until) WHERE undo_until IS NOT NULL;

CREATE TABLE operation_run (                            -- what an operation was told to do, run by run, and what came of it
  operation BIGINT NOT NULL, run BIGINT NOT NULL, tenant BIGINT NOT NULL,
  result TEXT,                                          -- NULL: not yet; done, merged, left
  rerun BIGINT, PRIMARY KEY (operation, run)
) WITHOUT ROWID;
CREATE INDEX operation_tenant ON operation (tenant, id);
CREATE INDEX operation_open ON operation (id) WHERE ended_at IS NULL;
