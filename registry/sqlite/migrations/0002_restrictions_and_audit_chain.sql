-- States that an operator can take back, origins that outlive a renewal, and an audit in which every entry vouches for
-- the one before it. `audit_hash` and `audit_details` are functions of `registry/audit-chain.ts`.

ALTER TABLE devices ADD COLUMN restriction TEXT CHECK (restriction IN ('suspended', 'quarantined'));
ALTER TABLE devices ADD COLUMN restricted_at INTEGER;
-- A deleted device leaves its row behind, emptied: its certificates, which are kept, refer to it.
ALTER TABLE devices ADD COLUMN deleted_at INTEGER;

CREATE INDEX devices_restricted ON devices (restriction, id) WHERE restriction IS NOT NULL;

-- Who let the first of a line of certificates in. Renewals inherit it, and the token too.
ALTER TABLE certificates ADD COLUMN operator TEXT;

UPDATE certificates SET token_id = (
  WITH RECURSIVE line (parent, token) AS (
    SELECT parent_serial, token_id FROM certificates AS own WHERE own.serial = certificates.serial
    UNION ALL
    SELECT up.parent_serial, up.token_id FROM line JOIN certificates AS up ON up.serial = line.parent
  )
  SELECT token FROM line WHERE token IS NOT NULL LIMIT 1
) WHERE token_id IS NULL AND parent_serial IS NOT NULL;

UPDATE certificates SET operator = (SELECT minted_by FROM tokens WHERE id = token_id) WHERE token_id IS NOT NULL;

CREATE INDEX certificates_by_token ON certificates (token_id) WHERE token_id IS NOT NULL;
CREATE INDEX certificates_by_parent ON certificates (parent_serial) WHERE parent_serial IS NOT NULL;

DROP TRIGGER audit_is_not_rewritten;
DROP TRIGGER audit_is_not_shortened;
DROP INDEX audit_refusals;
ALTER TABLE audit RENAME TO audit_unchained;

CREATE TABLE audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  actor   TEXT NOT NULL,
  action  TEXT NOT NULL,
  subject TEXT NOT NULL,
  outcome TEXT NOT NULL CHECK (outcome IN ('done', 'refused')),
  details TEXT NOT NULL CHECK (json_type(details) = 'object'),
  hash    TEXT NOT NULL CHECK (length(hash) = 64)
) STRICT;

INSERT INTO audit (id, at, actor, action, subject, outcome, details, hash)
WITH RECURSIVE
  old (id, at, actor, action, subject, outcome, details) AS NOT MATERIALIZED (
    SELECT id, at, actor, action, subject, outcome, audit_details(details) FROM audit_unchained
  ),
  chain (id, at, actor, action, subject, outcome, details, hash) AS (
    SELECT id, at, actor, action, subject, outcome, details,
      audit_hash('0000000000000000000000000000000000000000000000000000000000000000',
        id, at, actor, action, subject, outcome, details)
    FROM old WHERE id = (SELECT min(id) FROM audit_unchained)
    UNION ALL
    SELECT old.id, old.at, old.actor, old.action, old.subject, old.outcome, old.details,
      audit_hash(chain.hash, old.id, old.at, old.actor, old.action, old.subject, old.outcome, old.details)
    FROM chain JOIN old ON old.id = (SELECT min(id) FROM audit_unchained WHERE id > chain.id)
  )
SELECT id, at, actor, action, subject, outcome, details, hash FROM chain;

DROP TABLE audit_unchained;

CREATE INDEX audit_refusals ON audit (subject, at) WHERE outcome = 'refused';
CREATE INDEX audit_by_subject ON audit (subject, id);

CREATE TRIGGER audit_is_not_rewritten BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;

-- An INSERT OR REPLACE would remove a row without asking the trigger above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
