-- A certificate's whole life: when it first proved itself, when another took its place, and whether it was given for a key
-- whose certificate had ended.

ALTER TABLE certificates ADD COLUMN proven_at INTEGER;
-- May lie ahead: the end of the time in which a certificate and the one that follows it both count.
ALTER TABLE certificates ADD COLUMN superseded_at INTEGER;
ALTER TABLE certificates ADD COLUMN recovered INTEGER NOT NULL DEFAULT 0 CHECK (recovered IN (0, 1));

-- One key, one certificate; but for the recovery of a device that can't make its key anew.
DROP INDEX certificates_by_key;
CREATE UNIQUE INDEX certificates_by_key ON certificates (public_key_sha256)
WHERE server_name IS NULL AND recovered = 0;
CREATE INDEX certificates_recovered ON certificates (public_key_sha256) WHERE recovered = 1;
