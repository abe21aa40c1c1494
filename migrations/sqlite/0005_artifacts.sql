-- Objects that no artifact names: being written under a lease (run and fence), or to be removed (0 and 0).
CREATE TABLE stray_object (
  place TEXT NOT NULL PRIMARY KEY, run BIGINT NOT NULL, fence BIGINT NOT NULL, made_at BIGINT NOT NULL
) WITHOUT ROWID;
