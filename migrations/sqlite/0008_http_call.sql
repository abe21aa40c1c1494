-- A request of a guest: how long it waited for its turn at the target, whether its connection was there already, which secrets it had.
ALTER TABLE http_call ADD COLUMN waited_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE http_call ADD COLUMN reused BIGINT NOT NULL DEFAULT 0;
ALTER TABLE http_call ADD COLUMN secrets TEXT;           -- names, with a space between; NULL: none
