-- What the certificates of a group's devices are like. Nothing is set for most groups.

CREATE TABLE group_profiles (
  group_name TEXT PRIMARY KEY,
  profile    TEXT NOT NULL CHECK (json_type(profile) = 'object'),
  set_at     INTEGER NOT NULL,
  set_by     TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Counted when a group has a limit.
CREATE INDEX devices_of_group ON devices (group_name) WHERE revoked_at IS NULL AND deleted_at IS NULL;
