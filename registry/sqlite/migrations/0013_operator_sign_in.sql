-- How people sign in: passwords, second factors, passkeys, one-time links and the sessions that follow. Secrets that a client
-- presents are stored as hashes. The secret of TOTP is stored as it is, because codes are computed from it.

CREATE TABLE operator_passwords (
  operator_name TEXT PRIMARY KEY REFERENCES operators (name),
  hash          TEXT NOT NULL,
  changed_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operator_totp (
  operator_name TEXT PRIMARY KEY REFERENCES operators (name),
  secret        BLOB NOT NULL,
  created_at    INTEGER NOT NULL,
  -- Until then it is not asked for.
  confirmed_at  INTEGER,
  -- The newest time step whose code was used.
  last_step     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE operator_recovery_codes (
  code_hash     BLOB PRIMARY KEY CHECK (length(code_hash) = 32),
  operator_name TEXT NOT NULL REFERENCES operators (name),
  created_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX operator_recovery_codes_of_operator ON operator_recovery_codes (operator_name);

CREATE TABLE operator_passkeys (
  -- The credential id, base64url.
  id            TEXT PRIMARY KEY,
  operator_name TEXT NOT NULL REFERENCES operators (name),
  name          TEXT NOT NULL,
  -- COSE (RFC 9052).
  public_key    BLOB NOT NULL,
  counter       INTEGER NOT NULL,
  -- JSON: a list of texts.
  transports    TEXT NOT NULL,
  -- The relying party: the host under which it was registered.
  rp_id         TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  last_used_at  INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX operator_passkeys_of_operator ON operator_passkeys (operator_name, created_at, id);

CREATE TABLE sign_in_links (
  secret_hash   BLOB PRIMARY KEY CHECK (length(secret_hash) = 32),
  -- NULL: of the first set-up; its user chooses the name.
  operator_name TEXT REFERENCES operators (name),
  created_at    INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  expires_at    INTEGER NOT NULL CHECK (expires_at > created_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE operator_sessions (
  id               TEXT PRIMARY KEY,
  secret_hash      BLOB NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
  -- The one before the last renewal, for requests that were sent meanwhile.
  former_hash      BLOB UNIQUE CHECK (length(former_hash) = 32),
  former_until     INTEGER,
  operator_name    TEXT NOT NULL REFERENCES operators (name),
  method           TEXT NOT NULL,
  created_at       INTEGER NOT NULL,
  last_seen_at     INTEGER NOT NULL,
  authenticated_at INTEGER NOT NULL,
  expires_at       INTEGER NOT NULL CHECK (expires_at > created_at),
  idle_ms          INTEGER NOT NULL,
  address          TEXT NOT NULL,
  user_agent       TEXT NOT NULL,
  ended_at         INTEGER
) STRICT;

CREATE INDEX operator_sessions_of_operator ON operator_sessions (operator_name, created_at, id);
