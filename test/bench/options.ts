/** Options of the bench on the command line, and the sizes of its loads. */

import { parseArgs } from 'node:util';

export const ROWS = [
  'enroll',
  'connect',
  'publish',
  'workers',
  'memory',
  'status',
  'revoke',
  'ca',
  'journal',
  'sinks',
  'postgres',
  'cluster',
] as const;
export type RowName = (typeof ROWS)[number];
/** Former names of rows, which `--only` still accepts. */
const FORMER_NAMES: Readonly<Record<string, RowName>> = { standing: 'status' };

/** How many of each; every load is bounded by these. */
export interface Sizes {
  /** How often each row starts its servers. */
  readonly processes: number;
  /** Measured bursts per process, server and load. Short and many: noise comes and goes, and the median counts. */
  readonly rounds: number;
  /** The same for connects, which are the noisiest, and connects per burst. */
  readonly connectRounds: number;
  readonly connects: number;
  /** Messages per burst. */
  readonly messages: number;
  /** Connections that publish, each with one message in flight. */
  readonly publishers: number;
  /** Idle connections whose memory is measured. */
  readonly idle: number;
  /** Certificates per burst, once with a new connection each and once over reused ones. */
  readonly enrollments: number;
  /** Devices connected while devices are revoked, and how many of them are. */
  readonly connected: number;
  readonly revoked: number;
  /** How many are then revoked in one order. */
  readonly revokedAtOnce: number;
  /** Devices in a large registry, and revoked serials in another. */
  readonly registered: number;
  /** Entries of the revocation list that is made. */
  readonly listed: number;
  /** Messages in the journal in the end. */
  readonly journalMessages: number;
  /** Devices connected to each of several nodes, and takeovers between these. */
  readonly connectedPerNode: number;
  readonly takeovers: number;
}

export interface BenchOptions {
  readonly rows: ReadonlySet<RowName>;
  readonly output: 'table' | 'json';
  readonly sizes: Sizes;
  /** Directory for CPU profiles of the Node servers; profiled figures are not to be compared with others. */
  readonly profiles: string | undefined;
}

export const USAGE = `usage: npm run bench -- [--only ${ROWS.join(',')}] [--quick] [--scale F] [--processes N] [--json] [--profile DIR]
`;

const FULL: Sizes = {
  processes: 3,
  rounds: 8,
  connectRounds: 18,
  connects: 50,
  messages: 4_000,
  publishers: 500,
  idle: 2_000,
  enrollments: 40,
  connected: 5_200,
  revoked: 200,
  revokedAtOnce: 1_000,
  registered: 1_000_000,
  listed: 100_000,
  journalMessages: 10_000_000,
  connectedPerNode: 1_000,
  takeovers: 300,
};

const QUICK: Sizes = {
  processes: 1,
  rounds: 5,
  connectRounds: 10,
  connects: 40,
  messages: 3_000,
  publishers: 300,
  idle: 500,
  enrollments: 30,
  connected: 300,
  revoked: 60,
  revokedAtOnce: 100,
  registered: 50_000,
  listed: 20_000,
  journalMessages: 500_000,
  connectedPerNode: 100,
  takeovers: 60,
};

/** The options, or the error in them. */
export function readOptions(args: readonly string[]): BenchOptions | string {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(args);
  } catch (error) {
    return (error as Error).message;
  }
  const only =
    values.only?.split(',').map((name) => (Object.hasOwn(FORMER_NAMES, name) ? FORMER_NAMES[name] : name)) ?? ROWS;
  const unknown = only.find((name) => !ROWS.includes(name as RowName));
  if (unknown !== undefined) return `expected rows of ${ROWS.join(', ')}, found ${JSON.stringify(unknown)}`;
  const scale = Number(values.scale ?? 1);
  if (!(scale >= 0.01 && scale <= 10)) return `expected a scale of 0.01 to 10, found ${values.scale}`;
  const sizes = values.quick ? QUICK : FULL;
  const processes = Number(values.processes ?? sizes.processes);
  if (!Number.isInteger(processes) || processes < 1 || processes > 100) {
    return `expected 1 to 100 processes, found ${values.processes}`;
  }
  return {
    rows: new Set(only as readonly RowName[]),
    output: values.json ? 'json' : 'table',
    sizes: scaled(sizes, scale, processes),
    profiles: values.profile,
  };
}

function parse(args: readonly string[]) {
  return parseArgs({
    args: [...args],
    options: {
      only: { type: 'string' },
      quick: { type: 'boolean' },
      scale: { type: 'string' },
      processes: { type: 'string' },
      json: { type: 'boolean' },
      profile: { type: 'string' },
    },
  }).values;
}

function scaled(sizes: Sizes, scale: number, processes: number): Sizes {
  const of = (count: number) => Math.max(2, Math.round(count * scale));
  return {
    processes,
    rounds: of(sizes.rounds),
    connectRounds: of(sizes.connectRounds),
    connects: of(sizes.connects),
    messages: of(sizes.messages),
    publishers: of(sizes.publishers),
    idle: of(sizes.idle),
    enrollments: of(sizes.enrollments),
    connected: of(sizes.connected),
    revoked: of(sizes.revoked),
    revokedAtOnce: of(sizes.revokedAtOnce),
    registered: of(sizes.registered),
    listed: of(sizes.listed),
    journalMessages: of(sizes.journalMessages),
    connectedPerNode: of(sizes.connectedPerNode),
    takeovers: of(sizes.takeovers),
  };
}
