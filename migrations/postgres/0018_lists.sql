-- What an operation waits for, as it was seen last.
ALTER TABLE operation ADD COLUMN waits TEXT;
-- Where as many wait as may, further ends of runs are counted on the last that waits.
ALTER TABLE notice ADD COLUMN more BIGINT NOT NULL DEFAULT 0;
-- The ledger by what came of an instant. Most ran: those are found by time alone.
CREATE INDEX occurrence_result ON occurrence (result, due_at) WHERE result <> 'ran';
