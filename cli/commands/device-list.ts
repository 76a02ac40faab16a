/** `rollcall device list`: finds devices by criteria, in an order, with the columns that were asked for. */

import type { GroupName } from '@rollcall/protocol';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { DEVICE_SORTS, DEVICE_STATUSES, type DeviceSort, type DeviceStatus } from '../../registry/index.ts';
import { deviceId, duration, groupName, instant, integerBetween, label, runWithServer } from '../command-line.ts';
import { note, printJson, printResult, table } from '../terminal.ts';
import { disconnectSentence } from './disconnect-sentences.ts';

type ListedDevice = Awaited<ReturnType<ConsoleClient['listDevices']>>[number];

interface ListOptions {
  readonly group?: GroupName;
  readonly status?: DeviceStatus;
  readonly label?: Readonly<Record<string, string>>;
  readonly online?: boolean;
  readonly offline?: boolean;
  readonly lastSeenBefore?: number;
  readonly lastSeenAfter?: number;
  readonly address?: string;
  readonly token?: string;
  readonly sdkVersion?: string;
  readonly expiring?: number;
  readonly text?: string;
  readonly sort?: DeviceSort;
  readonly reverse?: boolean;
  readonly columns?: readonly string[];
  readonly after?: string;
  readonly cursor?: string;
  readonly limit: number;
}

/** By name; the heading is the name in capitals. */
const COLUMNS: Readonly<Record<string, (device: ListedDevice) => string | undefined>> = {
  device: ({ id }) => id,
  group: ({ group }) => group,
  status: ({ status }) => status,
  labels: ({ labels }) =>
    Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(' '),
  'last-seen': ({ online, lastSeenAt }) => (online ? 'online' : (lastSeenAt ?? 'never')),
  address: ({ lastAddress }) => lastAddress,
  connected: ({ connectedAt }) => connectedAt,
  disconnect: ({ lastDisconnect }) => lastDisconnect && disconnectSentence(lastDisconnect.reason),
  'sdk-version': ({ sdkVersion }) => sdkVersion,
  mqtt: ({ mqttVersion }) => mqttVersion,
  expires: ({ certificateEndsAt }) => certificateEndsAt,
  enrolled: ({ enrolledAt }) => enrolledAt,
  token: ({ enrolledBy }) => enrolledBy.replace(/^token\//, ''),
  revoked: ({ revokedAt }) => revokedAt,
  reason: ({ revocationReason }) => revocationReason,
};
const DEFAULT_COLUMNS = ['device', 'group', 'status', 'last-seen', 'address', 'enrolled'];

/** The name of the device SDK may be left out. */
const OWN_SDK = 'rollcall-device-sdk';

export function addDeviceList(list: Command): void {
  list
    .description('find devices: those that match every given option, ordered by id or another value')
    .option('--label <k=v>', 'with this label; may be repeated', label)
    .option('--group <group>', 'of this group', groupName)
    .addOption(new Option('--status <status>', 'with this status').choices(DEVICE_STATUSES))
    .option('--text <text>', "whose id or label's value begins with this text, or a word in it")
    .addOption(new Option('--online', 'that are connected').conflicts('offline'))
    .option('--offline', 'that are not connected')
    .option(
      '--last-seen-before <time>',
      'offline since before this time: ISO 8601, or a duration ago such as 7d',
      instant,
    )
    .option('--last-seen-after <time>', 'online, or seen since this time', instant)
    .option('--address <address>', 'whose newest session came from this address or network (10.1.0.0/16)')
    .option('--token <id>', 'that enrolled last with this bootstrap token')
    .option('--sdk-version <version>', `that run this SDK: name/version, or the version of ${OWN_SDK}`)
    .option('--expiring <duration>', 'whose newest certificate ends within this time, or has ended', duration)
    .addOption(new Option('--sort <column>', 'order; devices without a value come last').choices(DEVICE_SORTS))
    .option('--reverse', 'the greatest or latest first')
    .option('--columns <names>', `columns, with commas: ${Object.keys(COLUMNS).join(',')}`, columns)
    .option('--after <id>', 'list devices after this id: the next page', deviceId)
    .option('--cursor <cursor>', 'list the page after the one that printed this cursor')
    .option('--limit <n>', 'list at most so many', integerBetween(1, 10_000), 100)
    .action(
      runWithServer<ListOptions>(async (server, { options, form }) => {
        const { limit, columns: shown = DEFAULT_COLUMNS } = options;
        // One more than is shown tells whether there is more.
        const found = await server.listDevices({ ...queryOf(options), limit: Math.min(10_000, limit + 1) });
        const devices = found.slice(0, limit);
        if (form === 'json') return printJson(devices.map(({ cursor: _, ...device }) => device));
        if (devices.length === 0) return note(emptyBecause(options));
        const rows = devices.map((device) => shown.map((name) => COLUMNS[name]?.(device) ?? ''));
        printResult(
          table(
            shown.map((name) => name.toUpperCase().replace('-', ' ')),
            rows,
          ),
        );
        const count = devices.length === 1 ? '1 device' : `${devices.length} devices`;
        const more = found.length > limit ? `; more follow: add --cursor ${devices.at(-1)?.cursor}` : '';
        note(`${count}${more}`);
      }),
    );
}

function queryOf(options: ListOptions): Parameters<ConsoleClient['listDevices']>[0] {
  const { group, status, address, token, sdkVersion, text, sort, after, cursor, expiring } = options;
  const labels = Object.entries(options.label ?? {}).map(([name, value]) => `${name}=${value}`);
  const iso = (at: number | undefined) => (at === undefined ? undefined : new Date(at).toISOString());
  return {
    ...{ group, status, address, token, text, sort, after, cursor },
    ...(labels.length > 0 && { label: labels }),
    ...(options.online === true && { online: 'true' }),
    ...(options.offline === true && { online: 'false' }),
    ...(options.reverse === true && { reverse: 'true' }),
    lastSeenBefore: iso(options.lastSeenBefore),
    lastSeenAfter: iso(options.lastSeenAfter),
    sdkVersion: sdkVersion === undefined || sdkVersion.includes('/') ? sdkVersion : `${OWN_SDK}/${sdkVersion}`,
    certificateEndsBefore: iso(expiring === undefined ? undefined : Date.now() + expiring),
  };
}

function emptyBecause({
  limit: _limit,
  columns: _columns,
  sort: _sort,
  reverse: _reverse,
  ...criteria
}: ListOptions): string {
  if (criteria.after !== undefined || criteria.cursor !== undefined) return 'no device follows';
  const asked = ['group', 'status', 'label', 'online', 'offline', 'lastSeenBefore', 'lastSeenAfter', 'address'];
  const more = ['token', 'sdkVersion', 'expiring', 'text'];
  return [...asked, ...more].some((name) => name in criteria) ? 'no device matches' : 'no device is enrolled yet';
}

function columns(text: string): readonly string[] {
  const names = text.split(',');
  const unknown = names.find((name) => COLUMNS[name] === undefined);
  if (unknown === undefined) return names;
  throw new InvalidArgumentError(`expected columns of ${Object.keys(COLUMNS).join(', ')}`);
}
