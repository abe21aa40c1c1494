-- A module on its way to a plugin: it waits, is compiled, says what it is; then it is ready or refused.
CREATE TABLE push (
  id BIGINT NOT NULL PRIMARY KEY, tenant BIGINT NOT NULL,  -- 0: for everybody
  name TEXT NOT NULL,                             -- the plugin's, or what it is called by who pushes it
  version TEXT,                                   -- once it is ready
  digest TEXT NOT NULL, bytes BIGINT NOT NULL,
  state TEXT NOT NULL,                            -- waiting, compiling, describing, ready, refused
  message TEXT,                                   -- why it was refused
  fresh BIGINT NOT NULL,                          -- 1: ready, and these bytes were not there before
  begun_at BIGINT NOT NULL, at BIGINT NOT NULL,   -- the last word of the node that has it
  pushed_by TEXT NOT NULL
);

-- What the last attempt took, and earlier ones.
ALTER TABLE done ADD COLUMN peak_memory BIGINT;
ALTER TABLE done ADD COLUMN requests BIGINT;
ALTER TABLE attempt ADD COLUMN peak_memory BIGINT;
ALTER TABLE attempt ADD COLUMN requests BIGINT;
