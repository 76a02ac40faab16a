-- What devices are found by: their status in one column, when and from where they were connected last, the end of the newest
-- certificate, and the words of ids and labels. `device_terms` is a function of `registry/device-terms.ts`.

ALTER TABLE devices ADD COLUMN status TEXT AS (
  CASE WHEN deleted_at IS NOT NULL THEN 'deleted'
       WHEN revoked_at IS NOT NULL THEN 'revoked'
       ELSE coalesce(restriction, 'active') END
) VIRTUAL;

-- Presence. Written some time after the fact (`registry/presence.ts`).
ALTER TABLE devices ADD COLUMN online INTEGER NOT NULL DEFAULT 0 CHECK (online IN (0, 1));
-- The broker that has, or had last, the session; and the number of its connection.
ALTER TABLE devices ADD COLUMN broker TEXT;
ALTER TABLE devices ADD COLUMN connection INTEGER;
ALTER TABLE devices ADD COLUMN connected_at INTEGER;
ALTER TABLE devices ADD COLUMN last_seen_at INTEGER;
ALTER TABLE devices ADD COLUMN last_address TEXT;
-- The address as 32 hexadecimal digits (`registry/address-range.ts`): networks are ranges of it.
ALTER TABLE devices ADD COLUMN address_key TEXT;
ALTER TABLE devices ADD COLUMN mqtt_version TEXT;
ALTER TABLE devices ADD COLUMN sdk_version TEXT;
ALTER TABLE devices ADD COLUMN disconnected_at INTEGER;
ALTER TABLE devices ADD COLUMN disconnect_reason TEXT;

-- Of the newest certificate that is not revoked.
ALTER TABLE devices ADD COLUMN certificate_ends_at INTEGER;

UPDATE devices SET certificate_ends_at = (
  SELECT not_after FROM certificates WHERE device_id = devices.id AND revoked_at IS NULL
  ORDER BY issued_at DESC, rowid DESC LIMIT 1
);

CREATE TABLE device_terms (
  term      TEXT NOT NULL,
  device_id TEXT NOT NULL,
  PRIMARY KEY (term, device_id)
) STRICT, WITHOUT ROWID;

INSERT INTO device_terms (term, device_id)
SELECT found.value, devices.id FROM devices, json_each(device_terms(devices.id, devices.labels)) AS found
WHERE deleted_at IS NULL;

DROP INDEX devices_revoked;
CREATE INDEX devices_by_status ON devices (status, id);
CREATE INDEX devices_by_enrollment ON devices (enrolled_at, id);
CREATE INDEX devices_by_token ON devices (enrolled_by, id);
CREATE INDEX devices_by_online ON devices (online, id);
CREATE INDEX devices_by_last_seen ON devices (last_seen_at, id) WHERE online = 0 AND last_seen_at IS NOT NULL;
CREATE INDEX devices_by_address ON devices (address_key, id) WHERE address_key IS NOT NULL;
CREATE INDEX devices_by_sdk_version ON devices (sdk_version, id) WHERE sdk_version IS NOT NULL;
CREATE INDEX devices_by_certificate_end ON devices (certificate_ends_at, id) WHERE certificate_ends_at IS NOT NULL;
