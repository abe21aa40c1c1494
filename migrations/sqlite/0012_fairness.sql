-- Attempts that a tenant with a limit of starts has begun in a minute of the clock; of the last one alone.
CREATE TABLE started (tenant BIGINT NOT NULL PRIMARY KEY, minute BIGINT NOT NULL, runs BIGINT NOT NULL);
