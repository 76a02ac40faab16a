-- Committed changes that the listeners of all nodes hear of, and what each node reported of them (`registry/postgres/change-log.ts`).
-- Both are kept for an hour.

CREATE TABLE registry_changes (
  position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind     TEXT COLLATE "C" NOT NULL,
  -- The node that made it.
  node     TEXT COLLATE "C" NOT NULL,
  -- JSON.
  change   TEXT NOT NULL,
  at       BIGINT NOT NULL
);

CREATE INDEX registry_changes_by_time ON registry_changes (at);

CREATE TABLE change_confirmations (
  position BIGINT NOT NULL,
  node     TEXT COLLATE "C" NOT NULL,
  -- JSON: a list of what the listeners of the node returned.
  report   TEXT NOT NULL,
  PRIMARY KEY (position, node)
);
