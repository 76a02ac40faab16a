/**
 * The CPU time of a page of the device list in a large registry, for each criterion and each order: median and greatest, in milliseconds,
 * of the slower direction. `node bin/pinned.js test/bench/find-devices.ts [DEVICES] [DIRECTORY]`; a filled directory is used again.
 */

import { existsSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GroupName } from '@rollcall/protocol';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { addressKey } from '../../registry/devices/address-range.ts';
import { termsOf } from '../../registry/devices/device-terms.ts';
import {
  DEVICE_SORTS,
  type DeviceCriteria,
  type DeviceSort,
  deviceCursor,
  parseAddressRange,
  type Registry,
} from '../../registry/index.ts';
import { openRegistry } from '../../registry/open.ts';

const DAY = 86_400_000;
const AT_ONCE = 20_000;
const ROUNDS = 15;

function fill(file: string, devices: number, now: number): void {
  const database = new Database(file, { fileMustExist: true });
  database.pragma('synchronous = OFF');
  database.pragma('cache_size = -500000');
  const device = database.prepare(
    `INSERT INTO devices (id, group_name, labels, enrolled_at, enrolled_by, revoked_at, revocation_reason, restriction,
       restricted_at, online, broker, connection, connected_at, last_seen_at, last_address, address_key, mqtt_version, sdk_version,
       disconnected_at, disconnect_reason, certificate_ends_at)
     VALUES (@id, @group, @labels, @enrolledAt, @token, @revokedAt, @reason, NULL, NULL, @online, 'main', @n, @connectedAt, @seenAt,
       @address, @key, '5', @sdk, @seenAt, 'connection_lost', @endsAt)`,
  );
  const term = database.prepare('INSERT OR IGNORE INTO device_terms VALUES (?, ?)');
  const write = database.transaction((from: number, to: number) => {
    for (let n = from; n < to; n += 1) {
      const id = `gw-${String(n).padStart(7, '0')}`;
      const labels = { site: `hall-${n % 1000}`, line: `${n % 10}`, rack: `r${n % 100}` };
      const isKnown = n % 10 !== 0;
      const online = isKnown && n % 10 < 7 ? 1 : 0;
      const seenAt = isKnown ? now - Math.floor(((n * 31) % devices) * ((60 * DAY) / devices)) : null;
      const address = `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
      const endsAt = now + 1 + ((n * 17) % devices) * ((90 * DAY) / devices);
      const isRevoked = n % 500 === 0;
      device.run({
        ...{ id, n, labels: JSON.stringify(labels), group: `group-${n % 100}`, online, seenAt },
        ...{ enrolledAt: now - (devices - n) * 1000, token: `token/${String(n >> 10).padStart(16, '0')}` },
        ...{ revokedAt: isRevoked ? now : null, reason: isRevoked ? 'keyCompromise' : null },
        ...{ connectedAt: seenAt, address: isKnown ? address : null, key: isKnown ? addressKey(address) : null },
        ...{ sdk: isKnown && n % 4 !== 0 ? `rollcall-device-sdk/0.${n % 50}.0` : null, endsAt: Math.floor(endsAt) },
      });
      for (const each of termsOf({ id, labels })) term.run(each, id);
    }
  });
  for (let from = 0; from < devices; from += AT_ONCE) write(from, Math.min(devices, from + AT_ONCE));
  database.pragma('wal_checkpoint(TRUNCATE)');
  database.close();
}

const now = Math.floor(Date.now() / DAY) * DAY;
/** With how many of the devices match. */
const CRITERIA: readonly (readonly [string, DeviceCriteria])[] = [
  ['no criterion', {}],
  ['--group (1 %)', { group: 'group-7' as GroupName }],
  ['--status active (99.8 %)', { status: 'active' }],
  ['--status revoked (0.2 %)', { status: 'revoked' }],
  ['--label site (0.1 %)', { labels: { site: 'hall-3' } }],
  ['--label rack (1 %)', { labels: { rack: 'r3' } }],
  ['--label line (10 %)', { labels: { line: '3' } }],
  ['--online (60 %)', { isOnline: true }],
  ['--offline (40 %)', { isOnline: false }],
  ['--last-seen-before 7d (27 %)', { lastSeenBefore: now - 7 * DAY }],
  ['--last-seen-after 7d (64 %)', { lastSeenAfter: now - 7 * DAY }],
  ['--address of one', { address: parseAddressRange('10.3.2.1') }],
  ['--address /24 (256)', { address: parseAddressRange('10.3.2.0/24') }],
  ['--address /16 (6 %)', { address: parseAddressRange('10.3.0.0/16') }],
  ['--token (0.1 %)', { token: '0000000000000077' }],
  ['--sdk-version (1 to 2 %)', { sdkVersion: 'rollcall-device-sdk/0.7.0' }],
  ['--expiring 1d (1.1 %)', { certificateEndsBefore: now + DAY }],
  ['--text 0004217 (one)', { text: '0004217' }],
  ['--text hall-3 (11 %)', { text: 'hall-3' }],
  ['--label rack --offline (0.4 %)', { labels: { rack: 'r3' }, isOnline: false }],
];

async function measure(registry: Registry, criteria: DeviceCriteria, sort: DeviceSort, isReversed: boolean) {
  const took: number[] = [];
  let cursor: string | undefined;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = process.cpuUsage();
    const page = await registry.listDevices({ ...criteria, sort, isReversed, cursor, limit: 100 });
    const { user, system } = process.cpuUsage(start);
    took.push((user + system) / 1000);
    const last = page.at(-1);
    // The next page, from the first one again after the last.
    cursor = last === undefined ? undefined : deviceCursor(last, sort, isReversed);
  }
  took.sort((a, b) => a - b);
  return { median: took[Math.floor(ROUNDS / 2)] as number, most: took.at(-1) as number };
}

const devices = Number(process.argv[2] ?? 1_000_000);
const directory = process.argv[3] ?? mkdtempSync(join(tmpdir(), 'rollcall-find-'));
mkdirSync(directory, { recursive: true });
const options = {
  file: join(directory, 'registry.db'),
  now: Date.now,
  log: pino({ level: 'silent' }),
  isInspected: true,
};
if (!existsSync(options.file)) {
  await (await openRegistry(options)).close();
  fill(options.file, devices, now);
}
const registry = await openRegistry(options);
for (const [name, criteria] of CRITERIA) {
  const cells: string[] = [];
  for (const sort of DEVICE_SORTS) {
    let [median, most] = [0, 0];
    for (const isReversed of [false, true]) {
      const found = await measure(registry, criteria, sort, isReversed);
      median = Math.max(median, found.median);
      most = Math.max(most, found.most);
    }
    cells.push(`${sort} ${median.toFixed(1)}/${most.toFixed(0)}`);
  }
  process.stdout.write(`${name.padEnd(32)} ${cells.join('  ')}\n`);
}
await registry.close();
