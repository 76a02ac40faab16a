/** What can be asked of the bench on the command line, and how much work that means. */

import { parseArgs } from 'node:util';

export const ROWS = ['enroll', 'connect', 'publish', 'memory', 'revoke'] as const;
export type RowName = (typeof ROWS)[number];

/** How many of each; every load is bounded by these. */
export interface Sizes {
  /** Measured bursts per server and load. Short and many: noise comes and goes, and the median counts. */
  readonly rounds: number;
  /** Connects per burst. */
  readonly connects: number;
  /** Messages per burst. */
  readonly messages: number;
  /** Connections that publish, each with one message in flight. */
  readonly publishers: number;
  /** Idle connections whose memory is measured, and fresh servers that it is measured on. */
  readonly idle: number;
  readonly idleRounds: number;
  /** Certificates per burst, once with a new connection each and once over kept ones. */
  readonly enrollments: number;
  /** Devices connected while devices are revoked, and how many of them are. */
  readonly connected: number;
  readonly revoked: number;
}

export interface BenchOptions {
  readonly rows: ReadonlySet<RowName>;
  readonly output: 'table' | 'json';
  readonly sizes: Sizes;
  /** Directory for CPU profiles of the Node servers; profiled figures are not to be compared with others. */
  readonly profiles: string | undefined;
}

export const USAGE = `usage: npm run bench -- [--only ${ROWS.join(',')}] [--quick] [--scale F] [--rounds N] [--json] [--profile DIR]
`;

const FULL: Sizes = {
  rounds: 31,
  connects: 60,
  messages: 4_000,
  publishers: 500,
  idle: 2_000,
  idleRounds: 3,
  enrollments: 40,
  connected: 1_000,
  revoked: 200,
};

const QUICK: Sizes = {
  rounds: 7,
  connects: 40,
  messages: 3_000,
  publishers: 300,
  idle: 500,
  idleRounds: 1,
  enrollments: 30,
  connected: 300,
  revoked: 60,
};

/** The options, or what is wrong with them. */
export function readOptions(args: readonly string[]): BenchOptions | string {
  let values: ReturnType<typeof parse>;
  try {
    values = parse(args);
  } catch (error) {
    return (error as Error).message;
  }
  const only = values.only?.split(',') ?? ROWS;
  const unknown = only.find((name) => !ROWS.includes(name as RowName));
  if (unknown !== undefined) return `expected rows of ${ROWS.join(', ')}, found ${JSON.stringify(unknown)}`;
  const scale = Number(values.scale ?? 1);
  if (!(scale >= 0.01 && scale <= 10)) return `expected a scale of 0.01 to 10, found ${values.scale}`;
  const sizes = values.quick ? QUICK : FULL;
  const rounds = Number(values.rounds ?? sizes.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 500)
    return `expected 1 to 500 rounds, found ${values.rounds}`;
  return {
    rows: new Set(only as readonly RowName[]),
    output: values.json ? 'json' : 'table',
    sizes: scaled(sizes, scale, rounds),
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
      rounds: { type: 'string' },
      json: { type: 'boolean' },
      profile: { type: 'string' },
    },
  }).values;
}

function scaled(sizes: Sizes, scale: number, rounds: number): Sizes {
  const of = (count: number) => Math.max(2, Math.round(count * scale));
  return {
    rounds,
    connects: of(sizes.connects),
    messages: of(sizes.messages),
    publishers: of(sizes.publishers),
    idle: of(sizes.idle),
    idleRounds: sizes.idleRounds,
    enrollments: of(sizes.enrollments),
    connected: of(sizes.connected),
    revoked: of(sizes.revoked),
  };
}
