-- Nodes of the fleet that joined by a token, and the tokens. Only a registry that several nodes have has them.

CREATE TABLE node_tokens (
  id          TEXT COLLATE "C" PRIMARY KEY,
  secret_hash BYTEA NOT NULL CHECK (length(secret_hash) = 32),
  -- The node that joins by it may have keys of CAs.
  ca_keys     BIGINT NOT NULL CHECK (ca_keys IN (0, 1)),
  created_at  BIGINT NOT NULL,
  created_by  TEXT COLLATE "C" NOT NULL,
  expires_at  BIGINT NOT NULL CHECK (expires_at > created_at),
  used_at     BIGINT
);

CREATE TABLE joined_nodes (
  name          TEXT COLLATE "C" PRIMARY KEY,
  -- JSON lists.
  roles         TEXT NOT NULL,
  hosts         TEXT NOT NULL,
  database_role TEXT COLLATE "C" NOT NULL,
  joined_at     BIGINT NOT NULL,
  removed_at    BIGINT
);
