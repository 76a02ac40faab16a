-- People and programs that use the console, and their API keys. Of a key only the SHA-256 of its secret is stored.

CREATE TABLE operators (
  name        TEXT PRIMARY KEY,
  role        TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  created_at  INTEGER NOT NULL,
  created_by  TEXT NOT NULL,
  disabled_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE operator_keys (
  id            TEXT PRIMARY KEY,
  secret_hash   BLOB NOT NULL CHECK (length(secret_hash) = 32),
  operator_name TEXT NOT NULL REFERENCES operators (name),
  role          TEXT NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
  created_at    INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  expires_at    INTEGER NOT NULL CHECK (expires_at > created_at),
  last_used_at  INTEGER,
  revoked_at    INTEGER
) STRICT;

CREATE INDEX operator_keys_of_operator ON operator_keys (operator_name, created_at, id);
CREATE INDEX operator_keys_ending ON operator_keys (expires_at, id) WHERE revoked_at IS NULL;
