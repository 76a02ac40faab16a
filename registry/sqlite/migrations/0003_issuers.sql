-- Which CAs there are, what each is good for now, and which of them issued a certificate. Windows of renewals that were
-- pulled forward; all other windows follow from a certificate's dates.

CREATE TABLE issuers (
  id           TEXT PRIMARY KEY CHECK (length(id) = 40),
  role         TEXT NOT NULL CHECK (role IN ('root', 'issuing')),
  state        TEXT NOT NULL CHECK (state IN ('prepared', 'active', 'outgoing', 'tainted', 'retired')),
  -- The root above an issuing CA.
  root_id      TEXT REFERENCES issuers (id),
  not_before   INTEGER NOT NULL,
  not_after    INTEGER NOT NULL CHECK (not_after > not_before),
  prepared_at  INTEGER NOT NULL,
  activated_at INTEGER,
  tainted_at   INTEGER,
  retired_at   INTEGER,
  der          BLOB NOT NULL,
  -- PEM: what leads from it to roots that devices may hold, beside its own root.
  chain        TEXT NOT NULL,
  CHECK ((role = 'issuing') = (root_id IS NOT NULL)),
  CHECK ((state = 'retired') = (retired_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX issuers_one_active ON issuers (role) WHERE state = 'active';
CREATE UNIQUE INDEX issuers_one_prepared ON issuers (role) WHERE state = 'prepared';

CREATE TRIGGER issuers_are_kept BEFORE DELETE ON issuers
BEGIN SELECT RAISE(ABORT, 'issuers are kept'); END;

CREATE TRIGGER retirement_is_final BEFORE UPDATE OF state ON issuers
WHEN OLD.state = 'retired'
BEGIN SELECT RAISE(ABORT, 'a retirement is final'); END;

-- NULL until the first CA is known to this table; it issued all of them.
ALTER TABLE certificates ADD COLUMN issuer_id TEXT REFERENCES issuers (id);

CREATE INDEX certificates_by_issuer ON certificates (issuer_id, not_after);
CREATE INDEX certificates_revoked_by_issuer ON certificates (issuer_id, revoked_at, serial) WHERE revoked_at IS NOT NULL;
CREATE INDEX certificates_by_end ON certificates (not_after) WHERE revoked_at IS NULL AND server_name IS NULL;

CREATE TABLE renewal_windows (
  serial       TEXT PRIMARY KEY REFERENCES certificates (serial),
  window_start INTEGER NOT NULL,
  window_end   INTEGER NOT NULL CHECK (window_end > window_start),
  reason       TEXT NOT NULL CHECK (reason IN ('pulled_forward', 'ca_rotation')),
  set_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
