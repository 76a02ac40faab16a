-- Acts of operators under an idempotency key. Of the key and of the request only hashes are stored, and of the answer
-- its status alone: an answer may contain a secret.

CREATE TABLE idempotency_keys (
  operator    TEXT NOT NULL,
  key_hash    BLOB NOT NULL CHECK (length(key_hash) = 32),
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  begun_at    INTEGER NOT NULL,
  ended_at    INTEGER,
  status      INTEGER CHECK ((status IS NULL) = (ended_at IS NULL)),
  PRIMARY KEY (operator, key_hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (begun_at);
CREATE INDEX idempotency_keys_of_operator ON idempotency_keys (operator, begun_at);
