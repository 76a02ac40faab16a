-- What ends next, and what should have been renewed: certificates that no other follows, by their end and by the moment
-- when nine tenths of their life are over, which is after every window that there can be.

CREATE INDEX certificates_ending ON certificates (not_after, serial)
WHERE revoked_at IS NULL AND device_id IS NOT NULL AND superseded_at IS NULL;
CREATE INDEX certificates_late ON certificates (not_after - (not_after - not_before) / 10, serial)
WHERE revoked_at IS NULL AND device_id IS NOT NULL AND superseded_at IS NULL;
