-- What ends next of services and bootstrap tokens, as 0006 has it for devices.

CREATE INDEX certificates_of_services_ending ON certificates (not_after, serial)
WHERE revoked_at IS NULL AND service_name IS NOT NULL AND superseded_at IS NULL;
CREATE INDEX certificates_of_services_late ON certificates (not_after - (not_after - not_before) / 10, serial)
WHERE revoked_at IS NULL AND service_name IS NOT NULL AND superseded_at IS NULL;
CREATE INDEX tokens_ending ON tokens (expires_at, id) WHERE voided_at IS NULL AND uses < max_uses;
