/** The tables of docs/capacity.md, made from the model and from what was measured; and the page with them in place. */

import { COSTS, RUNS } from './measured.ts';
import { type Costs, type Fleet, fitsHost, forecast, type Machines, type Plan, planCells, planHost } from './model.ts';

/** As the page describes them. */
export const MACHINES: Machines = {
  hostCores: 8,
  hostMiB: 32 * 1024,
  primaryCores: 16,
  cellDevices: 1_000_000,
  busyAtMost: 0.5,
  busyInStorm: 0.9,
};
export const MESSAGE_EVERY_SECONDS = 60;
export const BACK_WITHIN_SECONDS = 600;
const FLEETS = [1_000, 10_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000] as const;

type Row = readonly string[];

const TABLES: Readonly<Record<string, () => readonly Row[]>> = {
  costs: costRows,
  runs: runRows,
  host: hostRows,
  cells: cellRows,
};

/** The page with each of its tables as the model has it now. Throws for a table that the page has no place for. */
export function withTables(page: string): string {
  return Object.entries(TABLES).reduce((text, [name, rows]) => {
    const place = new RegExp(`(<!-- table: ${name} -->\n)[\\s\\S]*?(\n<!-- end -->)`);
    if (!place.test(text)) throw new Error(`expected a place for the table ${name}, found none`);
    return text.replace(place, (_, begin: string, end: string) => `${begin}\n${markdown(rows())}\n${end}`);
  }, page);
}

function costRows(): readonly Row[] {
  const { embedded, shared } = COSTS;
  const kinds = [embedded.node, shared.node, shared.primary, shared.standby];
  const micros = (name: string, pick: (work: Costs['node']) => number): Row => [
    name,
    ...kinds.map((work) => round(pick(work))),
  ];
  return [
    ['CPU, µs', 'one server', 'a node with PostgreSQL', 'its primary', 'each standby'],
    micros('a second at rest', ({ restMicros }) => restMicros),
    micros('an enrollment', ({ enrollmentMicros }) => enrollmentMicros),
    micros('a connect', ({ connectMicros }) => connectMicros),
    micros('a message', ({ messageMicros }) => messageMicros),
    micros('a commit of messages', ({ commitMicros }) => commitMicros),
    micros('a revocation, of many in one order', ({ revocationMicros }) => revocationMicros),
    ['**other**'],
    ['a connected device, KiB', round(embedded.deviceKiB), round(shared.deviceKiB)],
    ['a node without its devices, MiB', round(embedded.baseMiB), round(shared.baseMiB)],
    ['a batch gathers and is written in, ms', fixed(embedded.batchMs), fixed(shared.batchMs)],
    ['a revocation takes, of many in one order, ms', fixed(embedded.revocationMs), fixed(shared.revocationMs)],
  ].map((row) => [...row, ...Array<string>(5 - row.length).fill('')]);
}

function runRows(): readonly Row[] {
  const rows = RUNS.map((run): Row => {
    const { nodes, devices, messages, seconds } = run;
    const costs = nodes === 0 ? COSTS.embedded : COSTS.shared;
    const expected = forecast(costs, { ...run, nodes: Math.max(1, nodes) });
    const cell = (pick: (of: typeof expected) => number) =>
      `${fixed(pick(run))} / ${times(pick(run) / pick(expected))}`;
    return [
      nodes === 0 ? 'one server' : `${nodes}`,
      `${devices}`,
      `${messages} in ${round(seconds)} s`,
      cell(({ nodesSeconds }) => nodesSeconds),
      nodes === 0 ? '' : cell(({ primarySeconds }) => primarySeconds),
      cell(({ residentMiB }) => residentMiB),
    ];
  });
  return [['nodes', 'devices', 'messages', 'CPU s of the nodes', 'CPU s of the primary', 'MiB of a node'], ...rows];
}

function hostRows(): readonly Row[] {
  const rows = FLEETS.map(fleetOf)
    .filter((fleet) => fitsHost(COSTS.embedded, fleet, MACHINES))
    .map((fleet): Row => {
      const plan = planHost(COSTS.embedded, fleet, MACHINES);
      return [count(fleet.devices), ...amounts(plan)];
    });
  return [['devices', ...AMOUNTS], ...rows];
}

function cellRows(): readonly Row[] {
  const rows = FLEETS.filter((devices) => devices >= 10_000)
    .map(fleetOf)
    .map((fleet): Row => {
      const plan = planCells(COSTS.shared, fleet, MACHINES);
      const { cells, nodes, hosts, primaryCores } = plan;
      return [
        count(fleet.devices),
        count(cells),
        count(nodes),
        `${count(hosts)} + ${3 * cells}`,
        fixed(primaryCores),
        ...amounts(plan),
      ];
    });
  return [
    ['devices', 'cells', 'nodes', 'hosts of nodes + PostgreSQL', 'cores busy in each primary', ...AMOUNTS],
    ...rows,
  ];
}

const AMOUNTS = [
  'messages a second',
  'memory of nodes',
  'handshakes a second',
  'all back after',
  'all, or a million, revoked in',
];

function amounts(plan: Plan): Row {
  const { messagesPerSecond, memoryGiB, handshakesPerSecond, backSeconds, revocationSeconds } = plan;
  return [
    count(messagesPerSecond),
    `${memoryGiB < 10 ? fixed(memoryGiB) : count(memoryGiB)} GiB`,
    count(handshakesPerSecond),
    duration(backSeconds),
    duration(revocationSeconds),
  ];
}

function fleetOf(devices: number): Fleet {
  return { devices, messageEvery: MESSAGE_EVERY_SECONDS, backWithin: BACK_WITHIN_SECONDS };
}

/** Two significant digits, with separators. */
function count(value: number): string {
  return Math.round(Number(value.toPrecision(2))).toLocaleString('en-US');
}

function round(value: number): string {
  return Math.abs(value) < 10 ? fixed(value) : Math.round(value).toLocaleString('en-US');
}

function fixed(value: number): string {
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}

function times(value: number): string {
  return `${value.toFixed(2)} ×`;
}

function duration(seconds: number): string {
  if (seconds < 120) return `${fixed(seconds)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function markdown([head, ...rows]: readonly Row[]): string {
  const columns = head ?? [];
  return [columns, columns.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
