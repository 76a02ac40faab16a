-- The certificates of nodes are listed among what expires: few of all certificates.

CREATE INDEX certificates_of_servers ON certificates (server_name, not_after) WHERE server_name IS NOT NULL AND revoked_at IS NULL;
