/** The schema of the session file, as the steps that lead to it. A new file takes all of them, an older one those that it lacks. */

import type Database from 'better-sqlite3';

/**
 * A message for a thousand clients is one body and a thousand queue rows. There are no foreign keys: the writer knows
 * which bodies are unused, and each foreign key would cost a seek per row.
 */
const INITIAL = `
  CREATE TABLE sessions (
    client_id  TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    about      TEXT NOT NULL,
    away_since INTEGER
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE subscriptions (
    client_id TEXT NOT NULL,
    filter    TEXT NOT NULL,
    qos       INTEGER NOT NULL,
    options   TEXT,
    PRIMARY KEY (client_id, filter)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE bodies (
    id      INTEGER PRIMARY KEY,
    topic   TEXT NOT NULL,
    payload BLOB NOT NULL,
    qos     INTEGER NOT NULL,
    retain  INTEGER NOT NULL
  ) STRICT;

  -- In the order of the ids. Without a body only the PUBREL is left to be sent.
  CREATE TABLE queued (
    id         INTEGER PRIMARY KEY,
    client_id  TEXT NOT NULL,
    body       INTEGER,
    message_id INTEGER
  ) STRICT;

  CREATE TABLE incoming (
    client_id  TEXT NOT NULL,
    message_id INTEGER NOT NULL,
    topic      TEXT NOT NULL,
    payload    BLOB NOT NULL,
    PRIMARY KEY (client_id, message_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE retained (
    topic   TEXT PRIMARY KEY,
    owner   TEXT,
    payload BLOB NOT NULL,
    qos     INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE wills (
    client_id TEXT PRIMARY KEY,
    about     TEXT,
    topic     TEXT NOT NULL,
    payload   BLOB NOT NULL,
    qos       INTEGER NOT NULL,
    retain    INTEGER NOT NULL
  ) STRICT;
`;

/**
 * Session expiry, properties, message expiry, subscription options and will delay of MQTT 5. Sessions of MQTT 3.1.1 do not expire by
 * themselves. The payload of `incoming` was the journal key of the message, or empty. A will without an owner was never published.
 */
const MQTT_5 = `
  ALTER TABLE sessions ADD COLUMN expiry INTEGER NOT NULL DEFAULT 4294967295;

  ALTER TABLE subscriptions ADD COLUMN no_local INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE subscriptions ADD COLUMN retain_as_published INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE subscriptions ADD COLUMN retain_handling INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE subscriptions ADD COLUMN subscription_identifier INTEGER;
  UPDATE subscriptions SET
    no_local = coalesce(json_extract(options, '$.nl'), 0),
    retain_as_published = coalesce(json_extract(options, '$.rap'), 0),
    retain_handling = coalesce(json_extract(options, '$.rh'), 0),
    subscription_identifier = json_extract(options, '$.subscriptionIdentifier')
  WHERE options IS NOT NULL;
  ALTER TABLE subscriptions DROP COLUMN options;

  ALTER TABLE bodies ADD COLUMN properties TEXT;
  ALTER TABLE bodies ADD COLUMN expires_at INTEGER;
  ALTER TABLE bodies ADD COLUMN publisher TEXT;

  ALTER TABLE queued RENAME COLUMN message_id TO packet_id;
  ALTER TABLE queued ADD COLUMN qos INTEGER NOT NULL DEFAULT 2;
  ALTER TABLE queued ADD COLUMN retain INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE queued ADD COLUMN subscription_identifiers TEXT;
  ALTER TABLE queued ADD COLUMN share TEXT;
  UPDATE queued SET qos = (SELECT max(1, bodies.qos) FROM bodies WHERE bodies.id = queued.body)
  WHERE body IN (SELECT id FROM bodies);

  CREATE TABLE received (
    client_id TEXT NOT NULL,
    packet_id INTEGER NOT NULL,
    key       TEXT,
    PRIMARY KEY (client_id, packet_id)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO received SELECT client_id, message_id, nullif(CAST(payload AS TEXT), '') FROM incoming;
  DROP TABLE incoming;
  ALTER TABLE received RENAME TO incoming;

  ALTER TABLE retained ADD COLUMN properties TEXT;
  ALTER TABLE retained ADD COLUMN expires_at INTEGER;
  ALTER TABLE retained ADD COLUMN publisher TEXT;

  DELETE FROM wills WHERE about IS NULL;
  ALTER TABLE wills ADD COLUMN properties TEXT;
  ALTER TABLE wills ADD COLUMN message_expiry INTEGER;
  ALTER TABLE wills ADD COLUMN delay INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE wills ADD COLUMN due_at INTEGER;
`;

const MIGRATIONS = [INITIAL, MQTT_5];

/** Number of the newest schema. */
export const SESSION_SCHEMA = MIGRATIONS.length;

/** Brings a file to the newest schema; each step is a transaction of its own. */
export function migrateSessionFile(database: Database.Database): void {
  const reached = database.pragma('user_version', { simple: true }) as number;
  for (const [index, sql] of MIGRATIONS.entries()) {
    if (index < reached) continue;
    database.transaction(() => {
      database.exec(sql);
      database.pragma(`user_version = ${index + 1}`);
    })();
  }
}
