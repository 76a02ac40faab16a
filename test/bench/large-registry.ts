/** Makes a registry large: devices written straight into its file, as fast as SQLite takes them. Measures nothing. */

import { randomBytes } from 'node:crypto';
import Database from 'better-sqlite3';
import { termsOf } from '../../registry/devices/device-terms.ts';

export interface Filling {
  /** Of a registry that exists and is closed. */
  readonly file: string;
  readonly devices: number;
  readonly status: 'active' | 'revoked';
}

/** What a device certificate of ours takes, bytes. */
const CERTIFICATE_BYTES = 560;
const AT_ONCE = 20_000;

/** Returns some of their serials, spread over all of them. */
export function fill({ file, devices, status }: Filling): readonly string[] {
  const database = new Database(file, { fileMustExist: true });
  database.pragma('synchronous = OFF');
  database.pragma('cache_size = -500000');
  const now = Date.now();
  const revokedAt = status === 'revoked' ? now : null;
  const reason = status === 'revoked' ? 'keyCompromise' : null;
  const device = database.prepare(
    `INSERT INTO devices (id, group_name, labels, enrolled_at, enrolled_by, revoked_at, revocation_reason,
       certificate_ends_at)
     VALUES (?, ?, '{"site":"north"}', ?, 'operator/local', ?, ?, ?)`,
  );
  const term = database.prepare('INSERT INTO device_terms VALUES (?, ?)');
  const certificate = database.prepare(
    `INSERT INTO certificates (serial, device_id, public_key_sha256, not_before, not_after, issued_at, revoked_at,
       revocation_reason, der) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  );
  const der = randomBytes(CERTIFICATE_BYTES);
  const serials: string[] = [];
  const every = Math.max(1, Math.floor(devices / 1_000));
  const write = database.transaction((from: number, to: number) => {
    for (let n = from; n < to; n += 1) {
      const id = `fill-${String(n).padStart(8, '0')}`;
      const serial = `7${randomBytes(16).toString('hex').slice(1)}`;
      const endsAt = status === 'revoked' ? null : now + 90 * 86_400_000;
      device.run(id, `group-${n % 100}`, now, revokedAt, reason, endsAt);
      for (const each of termsOf({ id, labels: { site: 'north' } })) term.run(each, id);
      certificate.run(
        serial,
        id,
        randomBytes(32).toString('hex'),
        now,
        now + 90 * 86_400_000,
        now,
        revokedAt,
        reason,
        der,
      );
      if (n % every === 0) serials.push(serial);
    }
  });
  for (let from = 0; from < devices; from += AT_ONCE) write(from, Math.min(devices, from + AT_ONCE));
  database.pragma('wal_checkpoint(TRUNCATE)');
  database.close();
  return serials;
}
