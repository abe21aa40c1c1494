-- What needs a person, and who was told. Nobody has written rows of the table that stood there.
DROP TABLE alert;
CREATE TABLE alert (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL, job BIGINT NOT NULL, node BIGINT NOT NULL,   -- 0: not of one
  kind TEXT NOT NULL, message TEXT NOT NULL, opened_at BIGINT NOT NULL, closed_at BIGINT
);
CREATE UNIQUE INDEX alert_open ON alert (tenant, job, node, kind) WHERE closed_at IS NULL;
CREATE INDEX alert_closed ON alert (closed_at) WHERE closed_at IS NOT NULL;
-- Nobody is told until then. tenant, job 0 and kind '': of any.
CREATE TABLE silence (
  tenant BIGINT NOT NULL, job BIGINT NOT NULL, kind TEXT NOT NULL, until BIGINT NOT NULL, by TEXT NOT NULL, made_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, job, kind)
);
-- One message to one sink. owner: the tenant whose file names the sink, 0 for windlass.toml. ended_at: it arrived, or was given up.
CREATE TABLE delivery (
  id BIGINT NOT NULL PRIMARY KEY, alert BIGINT NOT NULL, owner BIGINT NOT NULL, sink TEXT NOT NULL, notice TEXT NOT NULL,
  due_at BIGINT NOT NULL, tries BIGINT NOT NULL, error TEXT, ended_at BIGINT
);
CREATE INDEX delivery_due ON delivery (due_at) WHERE ended_at IS NULL;
CREATE INDEX delivery_alert ON delivery (alert, owner, sink);
-- A node that others found dead, where one that stopped has said so.
ALTER TABLE node ADD COLUMN died_at BIGINT;
