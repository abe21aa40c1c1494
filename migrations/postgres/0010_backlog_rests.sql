-- Where the work of a backlog stands between start_above and nothing, and until when it cools down.
ALTER TABLE probe ADD COLUMN working BIGINT NOT NULL DEFAULT 0;
ALTER TABLE probe ADD COLUMN cool_until BIGINT NOT NULL DEFAULT 0;
