/**
 * The model of docs/capacity.md: what a fleet costs, from what one connect, one message, one commit, one revocation and one idle device cost
 * (`measured.ts`). CPU in microseconds of one core, memory in KiB and MiB resident. Pure functions without a clock.
 */

/** CPU of one kind of process, microseconds. */
export interface Work {
  /** At rest, for one second. */
  readonly restMicros: number;
  /** Each, above what the process does at rest. */
  readonly enrollmentMicros: number;
  readonly connectMicros: number;
  readonly messageMicros: number;
  readonly commitMicros: number;
  readonly revocationMicros: number;
}

export interface Costs {
  readonly node: Work;
  /** 0 for a server with a store of its own. */
  readonly primary: Work;
  /** Of each. */
  readonly standby: Work;
  /** A node that has stored messages, without what its devices add; and what a connected device adds. */
  readonly baseMiB: number;
  readonly deviceKiB: number;
  /** A batch of messages gathers, and is written, in this time. */
  readonly batchMs: number;
  /** Of one device in an order for many, until the proof is there. */
  readonly revocationMs: number;
}

export interface Load {
  /** At least 1. */
  readonly nodes: number;
  /** Connected. */
  readonly devices: number;
  readonly seconds: number;
  readonly connects: number;
  readonly messages: number;
}

export interface Forecast {
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

export function forecast(costs: Costs, { nodes, devices, seconds, connects, messages }: Load): Forecast {
  const commits = nodes * seconds * commitsPerSecond(messages / nodes / seconds, costs.batchMs);
  const secondsOf = (work: Work) =>
    (work.restMicros * seconds * nodes +
      work.connectMicros * connects +
      work.messageMicros * messages +
      work.commitMicros * commits) /
    1e6;
  return {
    commits,
    nodesSeconds: secondsOf(costs.node),
    primarySeconds: secondsOf(costs.primary),
    standbySeconds: secondsOf(costs.standby),
    residentMiB: costs.baseMiB + (devices / nodes) * (costs.deviceKiB / 1024),
  };
}

/** The first message of a batch begins it; what comes while it gathers and is written shares a commit. */
export function commitsPerSecond(messagesPerSecond: number, batchMs: number): number {
  return messagesPerSecond / (1 + (messagesPerSecond * batchMs) / 1000);
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

const MOST_REVOKED = 1_000_000;

/** One server with a store of its own on one host: a thread serves MQTT. */
export function planHost(costs: Costs, fleet: Fleet, machines: Machines): Plan {
  return planOf(costs, fleet, machines, { cells: 1, nodes: 1, hosts: 1 });
}

/** The fewest cells whose primaries carry the fleet, each with the fewest nodes. */
export function planCells(costs: Costs, fleet: Fleet, machines: Machines): Plan {
  for (let cells = Math.ceil(fleet.devices / machines.cellDevices); ; cells += 1) {
    const own = { ...fleet, devices: fleet.devices / cells };
    const nodes = nodesFor(costs, own, machines);
    const hosts = Math.ceil(nodes / (machines.hostCores - 1)) * cells;
    const plan = planOf(costs, fleet, machines, { cells, nodes: nodes * cells, hosts });
    const stormCores = (own.devices * costs.primary.connectMicros) / 1e6 / fleet.backWithin;
    const isDaily = plan.primaryCores <= machines.primaryCores * machines.busyAtMost;
    const isStorm = stormCores <= machines.primaryCores * machines.busyInStorm;
    if (isDaily && isStorm) return plan;
  }
}

/** Whether one server with a store of its own carries the fleet. */
export function fitsHost(costs: Costs, fleet: Fleet, machines: Machines): boolean {
  // It has all of the memory.
  return nodesFor(costs, fleet, { ...machines, hostCores: 2 }) === 1;
}

function nodesFor(costs: Costs, fleet: Fleet, { busyAtMost, busyInStorm, hostCores, hostMiB }: Machines): number {
  const nodeMiB = hostMiB / (hostCores - 1);
  const byStorm = (fleet.devices * costs.node.connectMicros) / 1e6 / fleet.backWithin / busyInStorm;
  const byMemory = (fleet.devices * costs.deviceKiB) / 1024 / (nodeMiB - costs.baseMiB);
  for (let nodes = Math.max(1, Math.ceil(Math.max(byStorm, byMemory))); ; nodes += 1) {
    if (dailyOf(costs, fleet, nodes).nodesSeconds / nodes <= busyAtMost) return nodes;
  }
}

function planOf(
  costs: Costs,
  fleet: Fleet,
  { busyInStorm, primaryCores }: Machines,
  { cells, nodes, hosts }: Pick<Plan, 'cells' | 'nodes' | 'hosts'>,
): Plan {
  const { devices, messageEvery } = fleet;
  const daily = dailyOf(costs, fleet, nodes);
  const byNodes = (devices * costs.node.connectMicros) / 1e6 / nodes / busyInStorm;
  const byPrimaries = (devices * costs.primary.connectMicros) / 1e6 / cells / primaryCores / busyInStorm;
  const backSeconds = Math.max(byNodes, byPrimaries);
  return {
    messagesPerSecond: devices / messageEvery,
    cells,
    nodes,
    hosts,
    primaryCores: daily.primarySeconds / cells,
    memoryGiB: (daily.residentMiB * nodes) / 1024,
    handshakesPerSecond: devices / backSeconds,
    backSeconds,
    revocationSeconds: (Math.min(MOST_REVOKED, devices) * costs.revocationMs) / 1000 / cells,
  };
}

/** One second of it. */
function dailyOf(costs: Costs, { devices, messageEvery }: Fleet, nodes: number): Forecast {
  return forecast(costs, { nodes, devices, seconds: 1, connects: 0, messages: devices / messageEvery });
}
