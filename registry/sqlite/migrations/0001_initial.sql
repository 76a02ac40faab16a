-- The fleet's memory. Times are milliseconds since the epoch; serials and hashes are lower-case hexadecimal.
-- Text compares by bytes (SQLite's BINARY collation): names are case-sensitive, as MQTT client ids are.

CREATE TABLE tokens (
  id          TEXT PRIMARY KEY,
  secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
  max_uses    INTEGER NOT NULL CHECK (max_uses BETWEEN 1 AND 1000000),
  uses        INTEGER NOT NULL DEFAULT 0 CHECK (uses BETWEEN 0 AND max_uses),
  group_name  TEXT NOT NULL,
  labels      TEXT NOT NULL CHECK (json_type(labels) = 'object'),
  device_id   TEXT,
  minted_at   INTEGER NOT NULL,
  minted_by   TEXT NOT NULL,
  expires_at  INTEGER NOT NULL CHECK (expires_at > minted_at),
  voided_at   INTEGER,
  CHECK (device_id IS NULL OR max_uses = 1)
) STRICT;

CREATE INDEX tokens_by_device ON tokens (device_id) WHERE device_id IS NOT NULL;

CREATE TABLE devices (
  id                TEXT PRIMARY KEY,
  group_name        TEXT NOT NULL,
  labels            TEXT NOT NULL CHECK (json_type(labels) = 'object'),
  enrolled_at       INTEGER NOT NULL,
  enrolled_by       TEXT NOT NULL,
  revoked_at        INTEGER,
  revocation_reason TEXT,
  CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_by_group ON devices (group_name, id);
CREATE INDEX devices_revoked ON devices (id) WHERE revoked_at IS NOT NULL;

CREATE TABLE services (
  name              TEXT PRIMARY KEY,
  issued_at         INTEGER NOT NULL,
  revoked_at        INTEGER,
  revocation_reason TEXT,
  CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
  serial            TEXT PRIMARY KEY,
  device_id         TEXT REFERENCES devices (id),
  service_name      TEXT REFERENCES services (name),
  server_name       TEXT,
  public_key_sha256 TEXT NOT NULL CHECK (length(public_key_sha256) = 64),
  not_before        INTEGER NOT NULL,
  not_after         INTEGER NOT NULL CHECK (not_after > not_before),
  issued_at         INTEGER NOT NULL,
  parent_serial     TEXT REFERENCES certificates (serial),
  token_id          TEXT REFERENCES tokens (id),
  address           TEXT,
  revoked_at        INTEGER,
  revocation_reason TEXT,
  der               BLOB NOT NULL CHECK (length(der) > 0),
  CHECK ((device_id IS NOT NULL) + (service_name IS NOT NULL) + (server_name IS NOT NULL) = 1),
  CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL))
) STRICT;

CREATE INDEX certificates_by_device ON certificates (device_id) WHERE device_id IS NOT NULL;
CREATE INDEX certificates_by_service ON certificates (service_name) WHERE service_name IS NOT NULL;
-- One key, one certificate; only the server itself may keep a key when it renews.
CREATE UNIQUE INDEX certificates_by_key ON certificates (public_key_sha256) WHERE server_name IS NULL;
CREATE INDEX certificates_by_server_key ON certificates (public_key_sha256) WHERE server_name IS NOT NULL;
CREATE INDEX certificates_revoked ON certificates (not_after) WHERE revoked_at IS NOT NULL;

-- What was issued and what was revoked is never forgotten, whatever a later housekeeping does.
CREATE TRIGGER certificates_are_kept BEFORE DELETE ON certificates
BEGIN SELECT RAISE(ABORT, 'certificates are kept'); END;

CREATE TRIGGER revocation_is_final BEFORE UPDATE OF revoked_at, revocation_reason ON certificates
WHEN OLD.revoked_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a revocation is final'); END;

CREATE TABLE policies (
  scope    TEXT PRIMARY KEY,
  document TEXT NOT NULL CHECK (json_type(document) = 'object'),
  set_at   INTEGER NOT NULL,
  set_by   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
  name  TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES ('crl', 0);

CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('done', 'refused')),
  details TEXT NOT NULL CHECK (json_type(details) = 'object')
) STRICT;

-- How many refusals a subject has caused lately decides whether the next one is written down.
CREATE INDEX audit_refusals ON audit (subject, at) WHERE outcome = 'refused';

CREATE TRIGGER audit_is_not_rewritten BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
