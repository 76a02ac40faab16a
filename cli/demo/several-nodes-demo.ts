/**
 * The demo of several nodes: a PostgreSQL quorum, nodes and a load balancer as processes of this machine, a few devices, and what becomes of
 * them while a device is revoked and the person at the terminal ends processes.
 */

import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { expectPlausibleClock } from '../../server/config/index.ts';
import { createLogger } from '../../server/config/load.ts';
import { countMissing, readJournal } from '../../simulator/index.ts';
import { note, printResult } from '../terminal.ts';
import { BalancedNodes } from './balanced-nodes.ts';
import { isStopped } from './child-processes.ts';
import { DemoFleet } from './demo-fleet.ts';
import { DemoScreen, REDRAW_EVERY_MS } from './demo-screen.ts';
import { revokeOne, untilWatched } from './lost-device.ts';
import { within } from './node-watch.ts';
import { PostgresQuorum } from './postgres-quorum.ts';
import { describeNodesDemo, isNodesDemoComplete, type NodesDemoResult } from './several-nodes-result.ts';

export interface SeveralNodesOptions {
  /** Two or more. */
  readonly nodes: number;
  readonly seconds: number | undefined;
  /** A new directory for all files, in place of a temporary one; removed at the end as well. */
  readonly directory: string | undefined;
}

const DEVICES_PER_NODE = 8;
/** To read what was stored, at the end. */
const READ_MS = 20_000;

class StoppedEarly extends Error {}

/** True when every device connected, one was revoked on another node, and all that was acknowledged is stored once. */
export async function runSeveralNodesDemo(options: SeveralNodesOptions, stopped: Promise<unknown>): Promise<boolean> {
  expectPlausibleClock(Date.now());
  const directory = makeDirectory(options.directory);
  let isEnding = false;
  void stopped.then(() => {
    isEnding = true;
  });
  const checkStopped = () => {
    if (isEnding) throw new StoppedEarly();
  };
  const screen = new DemoScreen();
  try {
    screen.addLine(`starting a PostgreSQL primary, two standbys and ${options.nodes} nodes in ${directory}`);
    const onChange = (text: string) => {
      if (!isEnding) screen.addLine(text);
    };
    const postgres = await PostgresQuorum.start({
      ...{ directory: join(directory, 'postgres'), path: process.env.PATH, onChange },
    });
    try {
      checkStopped();
      const { url, passwordFile } = postgres;
      const store = { url, passwordFile, standbys: 1 };
      const cluster = await BalancedNodes.start({ nodes: options.nodes, directory, store, onChange, checkStopped });
      try {
        const ending = {
          begin: () => {
            isEnding = true;
          },
          stopped,
        };
        const story = await play({ cluster, postgres }, options, screen, ending);
        printResult(describeNodesDemo(story));
        return isNodesDemoComplete(story);
      } finally {
        isEnding = true;
        await cluster.close();
      }
    } finally {
      isEnding = true;
      await postgres.close();
    }
  } catch (error) {
    // What was being started has got the same signal, and may have failed with another error.
    if (!isEnding) throw error;
    note('ended before all nodes had started');
    return false;
  } finally {
    rmSync(directory, { recursive: true, force: true });
    note(`removed ${directory}`);
  }
}

function makeDirectory(named: string | undefined): string {
  if (named === undefined) {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-demo-'));
    // The user of PostgreSQL enters it. What is in it has rights of its own.
    chmodSync(directory, 0o711);
    return directory;
  }
  const directory = resolve(named);
  try {
    mkdirSync(directory, { mode: 0o711 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'EEXIST' ? 'it exists' : `it cannot be made: ${code}`;
    throw new Problem('usage', { reason: `expected a new directory, and not ${directory}: ${reason}` });
  }
  return directory;
}

interface DemoParts {
  readonly cluster: BalancedNodes;
  readonly postgres: PostgresQuorum;
}

async function play(
  { cluster, postgres }: DemoParts,
  { seconds, nodes }: SeveralNodesOptions,
  screen: DemoScreen,
  { begin, stopped }: { readonly begin: () => void; readonly stopped: Promise<unknown> },
): Promise<NodesDemoResult> {
  const since = new Date();
  const mqttUrl = `mqtts://localhost:${cluster.balancer.port}`;
  const parts = await Promise.all(
    cluster.nodes.map(async ({ operator, name }) => {
      const { text } = await operator.createToken({ uses: DEVICES_PER_NODE, ttlSeconds: 600 });
      return { devices: DEVICES_PER_NODE, token: text, idPrefix: `demo-${name.replace('node-', '')}`, mqttUrl };
    }),
  );
  screen.addLine(`${DEVICES_PER_NODE} devices enroll at each node; all connect to the load balancer at ${mqttUrl}`);
  const fleet = await DemoFleet.start(parts, { seconds, log: createLogger('silent') });
  void stopped.then(() => fleet.stop());
  const recovery = new RecoveryWatch(fleet, (text) => screen.addLine(text));
  const draw = () => {
    recovery.look();
    screen.drawTable(fleet.counts(), processTable({ cluster, postgres }));
  };
  const redraw = setInterval(draw, REDRAW_EVERY_MS);
  try {
    const revoked = await revokeElsewhere(cluster, fleet, screen);
    if (revoked !== undefined) screen.announceFooter(processTable({ cluster, postgres }).footer);
    await fleet.done;
    begin();
    draw();
    const { devices, everConnected, acknowledged } = fleet.counts();
    return {
      nodes,
      devices,
      connected: everConnected,
      causes: fleet.causesOfNever(),
      acknowledged,
      stored: await storedOf(cluster, fleet, since),
      ...(revoked !== undefined && { revoked }),
    };
  } finally {
    clearInterval(redraw);
    await fleet.stop();
  }
}

/** Revokes, on one node, a device that is connected to another one. Undefined when the demo ends before. */
async function revokeElsewhere(
  cluster: BalancedNodes,
  fleet: DemoFleet,
  screen: DemoScreen,
): Promise<NodesDemoResult['revoked']> {
  if (!(await untilWatched(fleet))) return undefined;
  const { ready } = cluster.watch;
  const at = ready.find((node) => cluster.watch.deviceOn(node) !== undefined);
  const by = ready.find((node) => node !== at);
  const id = at && cluster.watch.deviceOn(at);
  if (at === undefined || by === undefined || id === undefined) return undefined;
  const lost = await revokeOne(fleet, id, by.operator, () => screen.addLine(`revoked ${id} on ${by.name}`));
  screen.addLine(
    `its session on ${at.name} was closed after ${lost.disconnected ?? '?'} ms, its next connection refused after ${lost.refused ?? '?'} ms`,
  );
  return { ...lost, by: by.name, at: at.name };
}

/** Undefined when no node can be asked. */
async function storedOf(cluster: BalancedNodes, fleet: DemoFleet, since: Date): Promise<NodesDemoResult['stored']> {
  const ids = new Set(fleet.devices().map(({ id }) => id));
  for (const { operator } of cluster.watch.ready) {
    const lines = operator.exportTelemetry({ since: since.toISOString() });
    const journal = await within(
      READ_MS,
      readJournal(lines, (device) => ids.has(device)),
    );
    if (journal !== undefined) {
      return { missing: countMissing(fleet.acknowledged(), journal.seen), twice: journal.duplicates };
    }
  }
  return undefined;
}

const HEADINGS = ['PROCESS', 'PID', 'STATE', 'DEVICES', 'MQTT'];

function processTable({ cluster, postgres }: DemoParts) {
  const { nodes, watch, balancer } = cluster;
  const stateOf = (pid: number | undefined, state: string) =>
    pid === undefined ? 'ended' : isStopped(pid) ? 'stopped' : state;
  const rows = [
    ...nodes.map((node) => [
      node.name,
      `${node.pid ?? ''}`,
      stateOf(node.pid, watch.isReady(node) ? 'ready' : 'not ready'),
      `${balancer.connections(node.name)}`,
      `localhost:${node.mqttPort}`,
    ]),
    ...postgres.servers.map((server) => [
      `postgres ${server.name}`,
      `${server.pid ?? ''}`,
      stateOf(server.pid, server === postgres.primary ? 'primary' : 'standby'),
    ]),
  ].map((row) => HEADINGS.map((_, column) => row[column] ?? ''));
  return { headings: HEADINGS, rows, footer: whatToTry({ cluster, postgres }) };
}

function whatToTry({ cluster: { nodes, watch }, postgres }: DemoParts): readonly string[] {
  const node = nodes.at(-1);
  const [standby, other] = postgres.standbys;
  const [by, at] = watch.ready;
  const device = at && watch.deviceOn(at);
  return [
    'Try in another terminal (Ctrl-C here ends everything and removes its files):',
    `  kill -9 ${node?.pid ?? 'PID'}: ${node?.name} ends, and its devices connect to the others`,
    `  kill -9 ${postgres.primary.pid ?? 'PID'}: the primary ends, and a standby takes its place`,
    `  kill -INT ${standby?.pid ?? 'PID'}: one standby ends, and the other confirms what is stored`,
    `  kill -INT ${standby?.pid ?? 'PID'} ${other?.pid ?? 'PID'}: nothing is acknowledged until one of them runs again`,
    `  kill -STOP ${node?.pid ?? 'PID'}: ${node?.name} hangs, and acknowledges nothing until kill -CONT`,
    ...(by === undefined ? [] : [`  rollcall node list --data ${by.data}`]),
    ...(device === undefined || by === undefined
      ? []
      : [`  rollcall device revoke ${device} --reason keyCompromise --data ${by.data}: it is on ${at?.name}`]),
  ];
}

/** Says when devices lost their connections, and when all of them are connected again. */
class RecoveryWatch {
  readonly #fleet: DemoFleet;
  readonly #tell: (text: string) => void;
  #wereAllConnected = false;
  #lostAt: number | undefined;

  constructor(fleet: DemoFleet, tell: (text: string) => void) {
    this.#fleet = fleet;
    this.#tell = tell;
  }

  look(): void {
    const states = this.#fleet.devices().map(({ state }) => state);
    if (states.includes('stopped')) return;
    const away = states.filter((state) => state !== 'connected' && state !== 'connection refused').length;
    if (away === 0) {
      if (this.#lostAt !== undefined) {
        const seconds = ((performance.now() - this.#lostAt) / 1_000).toFixed(1);
        this.#tell(`all devices are connected again after ${seconds} s`);
      }
      this.#lostAt = undefined;
      this.#wereAllConnected = true;
    } else if (this.#wereAllConnected && this.#lostAt === undefined) {
      this.#lostAt = performance.now();
    }
  }
}
