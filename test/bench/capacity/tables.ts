/** What docs/capacity.md has of figures, in tables and in sentences: made from the model and from what was measured. */

import { costsOf } from './costs.ts';
import type { Measurements } from './measured.ts';
import {
  type Costs,
  type Fleet,
  fitsHost,
  forecast,
  type Machines,
  type Plan,
  planCells,
  planHost,
  type Run,
  type Work,
} from './model.ts';

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

/** The page with each of its tables and sentences as the model has it now. Throws for one that the page has no place for. */
export function withTables(page: string, measured: Measurements): string {
  const tables = Object.entries(tablesOf(measured)).map(([name, rows]) => [name, markdown(rows)] as const);
  const parts = [...tables, ...Object.entries(sentencesOf(measured))];
  return parts.reduce((text, [name, part]) => {
    const place = new RegExp(`(<!-- measured: ${name} -->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!place.test(text)) throw new Error(`expected a place for ${name}, found none`);
    return text.replace(place, (_, begin: string, end: string) => `${begin}\n${part}\n\n${end}`);
  }, page);
}

export function tablesOf(measured: Measurements) {
  return {
    costs: costRows(measured),
    runs: runRows(measured),
    host: hostRows(measured),
    cells: cellRows(measured),
  } satisfies Readonly<Record<string, readonly Row[]>>;
}

/** How far a figure of a run may be from the model's. */
export const GOAL = 0.2;

/** A server with a store of its own, and nodes that share a database. */
export function allCosts({ observed, memory }: Measurements): { readonly embedded: Costs; readonly shared: Costs } {
  const { server, one, two } = observed;
  return { embedded: costsOf(server, undefined, memory.server), shared: costsOf(one, two, memory.nodes) };
}

function sentencesOf(measured: Measurements): Readonly<Record<string, string>> {
  const { machine, load } = measured;
  const { embedded, shared } = allCosts(measured);
  const { connectMicros, messageMicros } = shared.nodes.ofOne;
  const million = duration((1_000_000 * shared.revocationMs) / 1000);
  const distances = distancesOf(measured);
  const within = distances.filter(({ ratio }) => Math.abs(ratio - 1) <= GOAL).length;
  const far = (one: Distance) => Math.abs(Math.log(one.ratio));
  const farthest = distances.toSorted((one, other) => far(other) - far(one))[0];
  const all = within === distances.length ? `all ${within} figures` : `${within} of ${distances.length} figures`;
  return {
    machine: `All of it ran on one machine: ${machine}, load average ${load.map(fixed).join(' to ')}. PostgreSQL 15 with two standbys and the load ran on the same cores.`,
    checked: `The goal is 20 %, and ${all} are within it. The farthest is ${farthest?.what}: ${times(farthest?.ratio ?? 1)} the model's.`,
    connects: `On a node with PostgreSQL a connect of many at once is as much work as ${round(connectMicros / messageMicros)} messages of many that share a commit.`,
    revocation: `With ${fixed(shared.revocationMs)} ms for each, a million in one cell take ${million}; a server with a store of its own has ${fixed(embedded.revocationMs)} ms.`,
  };
}

export interface Distance {
  /** For people. */
  readonly what: string;
  /** Measured to modeled. */
  readonly ratio: number;
}

/** How far each figure of the runs is from the model's. */
export function distancesOf(measured: Measurements): readonly Distance[] {
  const costs = allCosts(measured);
  return measured.runs.flatMap((run) => {
    const expected = expectedOf(costs, run);
    const ratio = (pick: (of: typeof expected) => number) => pick(run) / pick(expected);
    const on = run.nodes === 0 ? 'one server' : `${run.nodes} ${run.nodes === 1 ? 'node' : 'nodes'}`;
    return [
      { what: `the number of commits of ${on}`, ratio: ratio(({ commits }) => commits) },
      { what: `the CPU of ${on}`, ratio: ratio(({ nodesSeconds }) => nodesSeconds) },
      ...(run.nodes === 0
        ? []
        : [{ what: `the CPU of the primary of ${on}`, ratio: ratio(({ primarySeconds }) => primarySeconds) }]),
      { what: `the memory of ${on}`, ratio: ratio(({ residentMiB }) => residentMiB) },
    ];
  });
}

function expectedOf({ embedded, shared }: ReturnType<typeof allCosts>, run: Run) {
  return forecast(run.nodes === 0 ? embedded : shared, { ...run, nodes: Math.max(1, run.nodes) });
}

function costRows(measured: Measurements): readonly Row[] {
  const { embedded, shared } = allCosts(measured);
  const { nodes, primary, standby } = shared;
  const kinds = [embedded.nodes.ofOne, ...[nodes, primary, standby].flatMap((of) => [of.ofOne, of.ofEachOther])];
  const micros = (name: string, pick: (work: Work) => number): Row => [name, ...kinds.map((work) => round(pick(work)))];
  const another = 'each other node';
  const heads = ['one server', 'one node with PostgreSQL', another, 'its primary', another, 'each standby', another];
  return [
    ['CPU, µs', ...heads],
    micros('a second at rest', ({ restMicros }) => restMicros),
    micros('an enrollment', ({ enrollmentMicros }) => enrollmentMicros),
    micros('a connect, of many at once', ({ connectMicros }) => connectMicros),
    micros('a batch of events that connects share', ({ eventsMicros }) => eventsMicros),
    micros('a message', ({ messageMicros }) => messageMicros),
    micros('a commit that messages share', ({ commitMicros }) => commitMicros),
    micros('a revocation, of many in one order', ({ revocationMicros }) => revocationMicros),
    ['**other**'],
    ['a connected device, KiB', round(embedded.deviceKiB), round(shared.deviceKiB)],
    ['a node without its devices, MiB', round(embedded.baseMiB), round(shared.baseMiB)],
    ...shared.gatherings.map(({ perSecond, gatherMs }, index) => [
      `a batch gathers at ${count(perSecond)} messages a second, ms`,
      fixed(embedded.gatherings[index]?.gatherMs ?? Number.NaN),
      fixed(gatherMs),
    ]),
    ['between two batches of events, at least, ms', fixed(embedded.eventsMs), fixed(shared.eventsMs)],
    ['a revocation takes, of many in one order, ms', fixed(embedded.revocationMs), fixed(shared.revocationMs)],
  ].map((row) => [...row, ...Array<string>(heads.length + 1 - row.length).fill('')]);
}

function runRows(measured: Measurements): readonly Row[] {
  const costs = allCosts(measured);
  const rows = measured.runs.map((run): Row => {
    const { nodes, devices, messages, seconds } = run;
    const expected = expectedOf(costs, run);
    const cell = (pick: (of: typeof expected) => number) =>
      `${fixed(pick(run))} / ${times(pick(run) / pick(expected))}`;
    return [
      nodes === 0 ? 'one server' : `${nodes}`,
      `${devices}`,
      `${messages} in ${round(seconds)} s`,
      cell(({ commits }) => commits),
      cell(({ nodesSeconds }) => nodesSeconds),
      nodes === 0 ? '' : cell(({ primarySeconds }) => primarySeconds),
      cell(({ residentMiB }) => residentMiB),
    ];
  });
  const columns = ['commits', 'CPU s of the nodes', 'CPU s of the primary', 'MiB of a node'];
  return [['nodes', 'devices', 'messages', ...columns], ...rows];
}

function hostRows(measured: Measurements): readonly Row[] {
  const { embedded } = allCosts(measured);
  const rows = FLEETS.map(fleetOf)
    .filter((fleet) => fitsHost(embedded, fleet, MACHINES))
    .map((fleet): Row => {
      const plan = planHost(embedded, fleet, MACHINES);
      return [count(fleet.devices), ...amounts(plan)];
    });
  return [['devices', ...AMOUNTS], ...rows];
}

function cellRows(measured: Measurements): readonly Row[] {
  const { shared } = allCosts(measured);
  const rows = FLEETS.filter((devices) => devices >= 10_000)
    .map(fleetOf)
    .map((fleet): Row => {
      const plan = planCells(shared, fleet, MACHINES);
      const { cells, nodes, bound, hosts, primaryCores } = plan;
      return [
        count(fleet.devices),
        count(cells),
        count(nodes),
        bound,
        `${count(hosts)} + ${3 * cells}`,
        fixed(primaryCores),
        ...amounts(plan),
      ];
    });
  return [
    ['devices', 'cells', 'nodes', 'bound by', 'hosts of nodes + PostgreSQL', 'cores busy in each primary', ...AMOUNTS],
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

export function markdown([head, ...rows]: readonly Row[]): string {
  const columns = head ?? [];
  return [columns, columns.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
