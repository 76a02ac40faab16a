/**
 * The model of docs/capacity.md: what a fleet costs, from what one connect, one message, one commit, one revocation and one idle device cost
 * (`measured.ts`). CPU in microseconds of one core, memory in KiB and MiB resident. Pure functions without a clock.
 */

import { batchesPerSecond, type Gathering, shareOfBatches } from './batches.ts';

/** CPU of one kind of process, microseconds. */
export interface Work {
  /** At rest, for one second. */
  readonly restMicros: number;
  /** Each, above what the process does at rest. */
  readonly enrollmentMicros: number;
  /** A connect with the disconnect that follows, without the batch of events that it shares with others. */
  readonly connectMicros: number;
  readonly eventsMicros: number;
  /** A message, without the commit that it shares with others. */
  readonly messageMicros: number;
  readonly commitMicros: number;
  readonly revocationMicros: number;
}

export interface WorkOfNodes {
  /** Where the node is the only one. */
  readonly ofOne: Work;
  /** What each other node adds: it is there, is woken by what the one does, and reads it. Nothing on a server with a store of its own. */
  readonly ofEachOther: Work;
}

export interface Costs {
  /** All nodes together. */
  readonly nodes: WorkOfNodes;
  /** Nothing on a server with a store of its own, as are standbys. */
  readonly primary: WorkOfNodes;
  /** Of each. */
  readonly standby: WorkOfNodes;
  /** A new node with its first devices, without what these add; and what a connected device adds. After a collection of garbage. */
  readonly baseMiB: number;
  readonly deviceKiB: number;
  /** Of messages in commits, in the order of the rates. */
  readonly gatherings: readonly Gathering[];
  /** From an event until the next batch of events can begin. */
  readonly eventsMs: number;
  /** Of one device in an order for many, until the proof is there. */
  readonly revocationMs: number;
}

export interface Load {
  /** At least 1. What follows is spread evenly over them. */
  readonly nodes: number;
  /** Connected. */
  readonly devices: number;
  readonly seconds: number;
  readonly enrollments: number;
  readonly connects: number;
  /** In which they came, at random. */
  readonly connectSeconds: number;
  readonly messages: number;
  /** In which they came, at random: ever more while devices connected, and as many each second afterwards. */
  readonly messageSeconds: number;
}

export interface Forecast {
  /** Of messages. */
  readonly commits: number;
  /** CPU seconds of all nodes, of the primary, and of each standby. */
  readonly nodesSeconds: number;
  readonly primarySeconds: number;
  readonly standbySeconds: number;
  /** Of one node. */
  readonly residentMiB: number;
}

/** A run of the simulator, as it was measured. `nodes` 0: one server with a store of its own. */
export interface Run extends Load, Forecast {
  readonly unacknowledged: number;
}

export function forecast(costs: Costs, load: Load): Forecast {
  const { nodes, devices, seconds, enrollments, connects, connectSeconds, messages } = load;
  const commits = commitsOf(costs, load);
  const events = connects === 0 ? 0 : connects * shareOfBatches(connects / nodes / connectSeconds, costs.eventsMs);
  const secondsOf = (work: WorkOfNodes) =>
    together(
      work,
      nodes,
      (of) =>
        (of.restMicros * seconds +
          of.enrollmentMicros * enrollments +
          of.connectMicros * connects +
          of.eventsMicros * events +
          of.messageMicros * messages +
          of.commitMicros * commits) /
        1e6,
    );
  return {
    commits,
    nodesSeconds: secondsOf(costs.nodes),
    primarySeconds: secondsOf(costs.primary),
    standbySeconds: secondsOf(costs.standby),
    residentMiB: costs.baseMiB + (devices / nodes) * (costs.deviceKiB / 1024),
  };
}

function together({ ofOne, ofEachOther }: WorkOfNodes, nodes: number, of: (work: Work) => number): number {
  return of(ofOne) + (nodes - 1) * of(ofEachOther);
}

const STEPS = 20;

function commitsOf({ gatherings }: Costs, { nodes, connectSeconds, messages, messageSeconds }: Load): number {
  if (messages === 0) return 0;
  const perSecond = messages / nodes / (messageSeconds - connectSeconds / 2);
  let commits = (messageSeconds - connectSeconds) * batchesPerSecond(perSecond, gatherings);
  for (let step = 0; step < STEPS; step += 1) {
    commits += (connectSeconds / STEPS) * batchesPerSecond((perSecond * (step + 0.5)) / STEPS, gatherings);
  }
  return nodes * commits;
}

export interface Fleet {
  readonly devices: number;
  /** Seconds between two messages of one device. */
  readonly messageEvery: number;
  /** Every device is to be connected again so many seconds after all of them lost power. */
  readonly backWithin: number;
}

/** What is bought: a node takes one core; a host has some, of which one is left to the system. */
export interface Machines {
  readonly hostCores: number;
  readonly hostMiB: number;
  readonly primaryCores: number;
  /** At most: what one failover stops, and one order revokes one after the other. */
  readonly cellDevices: number;
  /** Of a core, in daily work and while devices come back. */
  readonly busyAtMost: number;
  readonly busyInStorm: number;
}

export interface Plan {
  readonly messagesPerSecond: number;
  readonly cells: number;
  /** Of all cells. */
  readonly nodes: number;
  /** What fewer nodes would not have enough of. */
  readonly bound: Bound;
  readonly hosts: number;
  /** Busy in daily work, of each cell; 0 without a database. */
  readonly primaryCores: number;
  readonly memoryGiB: number;
  readonly handshakesPerSecond: number;
  /** After a power cut of all. */
  readonly backSeconds: number;
  /** Of a million devices, or of all, in one order for each cell. */
  readonly revocationSeconds: number;
}

export type Bound = 'memory' | 'CPU for connects' | 'CPU for messages' | 'one node';

const MOST_REVOKED = 1_000_000;

/** One server with a store of its own on one host: a thread serves MQTT. */
export function planHost(costs: Costs, fleet: Fleet, machines: Machines): Plan {
  return planOf(costs, fleet, machines, { cells: 1, nodes: 1, bound: 'one node' });
}

/** The fewest cells whose primaries carry the fleet, each with the fewest nodes. */
export function planCells(costs: Costs, fleet: Fleet, machines: Machines): Plan {
  for (let cells = Math.ceil(fleet.devices / machines.cellDevices); ; cells += 1) {
    const found = nodesFor(costs, { ...fleet, devices: fleet.devices / cells }, machines);
    if (found === undefined) continue;
    const plan = planOf(costs, fleet, machines, { cells, ...found });
    if (plan.primaryCores <= machines.primaryCores * machines.busyAtMost) return plan;
  }
}

/** Whether one server with a store of its own carries the fleet. */
export function fitsHost(costs: Costs, fleet: Fleet, machines: Machines): boolean {
  // It has all of the memory.
  return nodesFor(costs, fleet, { ...machines, hostCores: 2 })?.nodes === 1;
}

/** Of one cell; more nodes each read what more others do. */
const MOST_NODES = 200;

/** The fewest that carry a cell; undefined where none do. */
function nodesFor(
  costs: Costs,
  fleet: Fleet,
  machines: Machines,
): { readonly nodes: number; readonly bound: Bound } | undefined {
  const { busyAtMost, hostCores, hostMiB } = machines;
  const nodeMiB = hostMiB / (hostCores - 1);
  const byMemory = (fleet.devices * costs.deviceKiB) / 1024 / (nodeMiB - costs.baseMiB);
  let bound: Bound = byMemory > 1 ? 'memory' : 'one node';
  for (let nodes = Math.max(1, Math.ceil(byMemory)); nodes <= MOST_NODES; nodes += 1) {
    const isDaily = dailyOf(costs, fleet, nodes).nodesSeconds / nodes <= busyAtMost;
    const isStorm = fleet.devices / connectsPerSecond(costs, nodes, machines) <= fleet.backWithin;
    if (isDaily && isStorm) return { nodes, bound };
    bound = isStorm ? 'CPU for messages' : 'CPU for connects';
  }
  return undefined;
}

/** Of one cell while devices come back all at once: what its nodes carry, and its primary. The more come, the more share a batch of events. */
function connectsPerSecond(costs: Costs, nodes: number, { busyInStorm, primaryCores }: Machines): number {
  let perSecond = nodes;
  for (let round = 0; round < ROUNDS; round += 1) {
    const share = shareOfBatches(perSecond / nodes, costs.eventsMs);
    const micros = (work: WorkOfNodes) =>
      together(work, nodes, ({ connectMicros, eventsMicros }) => connectMicros + share * eventsMicros);
    const byNodes = (nodes * busyInStorm * 1e6) / micros(costs.nodes);
    perSecond = Math.min(byNodes, (primaryCores * busyInStorm * 1e6) / micros(costs.primary));
  }
  return perSecond;
}

const ROUNDS = 20;

function planOf(
  costs: Costs,
  fleet: Fleet,
  machines: Machines,
  { cells, nodes, bound }: Pick<Plan, 'cells' | 'nodes' | 'bound'>,
): Plan {
  const own = { ...fleet, devices: fleet.devices / cells };
  const daily = dailyOf(costs, own, nodes);
  const handshakesPerSecond = connectsPerSecond(costs, nodes, machines) * cells;
  return {
    messagesPerSecond: fleet.devices / fleet.messageEvery,
    cells,
    nodes: nodes * cells,
    bound,
    hosts: Math.ceil(nodes / (machines.hostCores - 1)) * cells,
    primaryCores: daily.primarySeconds,
    memoryGiB: (daily.residentMiB * nodes * cells) / 1024,
    handshakesPerSecond,
    backSeconds: fleet.devices / handshakesPerSecond,
    revocationSeconds: (Math.min(MOST_REVOKED, fleet.devices) * costs.revocationMs) / 1000 / cells,
  };
}

/** One second of one cell. */
function dailyOf(costs: Costs, { devices, messageEvery }: Fleet, nodes: number): Forecast {
  const nothing = { enrollments: 0, connects: 0, connectSeconds: 0 };
  return forecast(costs, {
    ...nothing,
    nodes,
    devices,
    seconds: 1,
    messages: devices / messageEvery,
    messageSeconds: 1,
  });
}
