/** The servers that are measured against each other: each a process of its own, started afresh for each row. */

import { cpSync, existsSync, lstatSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUN_OPTIONS, findBun } from '../../cli/bun.ts';
import { freePort } from '../../cli/free-port.ts';
import type { PeerFiles } from './authority.ts';
import type { BenchResources, Child } from './children.ts';
import type { LoopDelay } from './loop-watch.ts';
import { loopDelayFile } from './server-preload.ts';
import { untilListening } from './until-listening.ts';

/** Rollcall on each runtime. */
export const OWN_NAMES = ['rollcall', 'rollcallOnBun'] as const;
export const PEER_NAMES = ['aedes', 'mosquitto'] as const;
export const SERVER_NAMES = [...OWN_NAMES, ...PEER_NAMES] as const;
export type OwnName = (typeof OWN_NAMES)[number];
export type PeerName = (typeof PEER_NAMES)[number];
export type ServerName = OwnName | PeerName;

export interface RunningServer {
  readonly name: ServerName;
  readonly pid: number;
  readonly mqttPort: number;
  /** SIGUSR2 makes it collect its garbage. */
  readonly collectsGarbage: boolean;
  /** How long its event loop was held up while `work` ran; for Node servers. */
  loopDelayDuring(work: () => Promise<unknown>): Promise<LoopDelay>;
  stop(): Promise<void>;
}

export interface RunningRollcall extends RunningServer {
  readonly enrollPort: number;
  readonly socketPath: string;
  readonly consoleUrl: string;
}

export interface RollcallStart {
  /** The fleet's data directory, unless another is given. */
  readonly data?: string;
  /** `--workers`; one without it. */
  readonly workers?: number;
  /** More lines of its configuration. */
  readonly settings?: string;
}

export interface Servers {
  readonly names: readonly ServerName[];
  /** Why a server is not measured. */
  readonly missing: Partial<Record<ServerName, string>>;
  /** The data directory of the fleet, and one for what a row needs besides. */
  readonly data: string;
  readonly directory: string;
  startRollcall(start?: RollcallStart): Promise<RunningRollcall>;
  start(name: ServerName): Promise<RunningServer>;
  /** Copies the data directory, while no server uses it: two servers that run at the same time need one each. */
  copyData(): void;
}

export const MOSQUITTO = '/usr/sbin/mosquitto';

const HERE = new URL('.', import.meta.url);
const ROLLCALL = fileURLToPath(new URL('../../cli/main.ts', HERE));
const STOCK_AEDES = fileURLToPath(new URL('stock-aedes.ts', HERE));
const SERVER_PRELOAD = new URL('server-preload.ts', HERE).href;
/** A server that takes longer to write its loop delays fails the bench. */
const LOOP_DELAY_WITHIN_MS = 5_000;

/**
 * The default configuration, except for the limits that would refuse a fleet from one address: those are raised, not
 * switched off, so that what they cost is measured too.
 */
export const WITHOUT_RATE_LIMITS = `
requests:
  perSecondPerAddress: 1000000
enroll:
  limits:
    enrollmentsPerSecond: 1000000
    enrollmentsPerSecondPerAddress: 1000000
    connectionsPerSecond: 1000000
    connectionsPerSecondPerAddress: 1000000
    openConnections: 1000000
    openConnectionsPerAddress: 1000000
    halfOpenConnections: 1000000
    halfOpenConnectionsPerAddress: 1000000
mqtt:
  limits:
    connectionsPerSecondPerAddress: 1000000
    handshakes: 1000000
    handshakesPerAddress: 1000000
    messagesPerSecond: 1000000
    bytesPerSecond: 0B
    takeoversPerMinute: 1000000
`;

/** The default policy of devices, in Mosquitto's words; everything else as its documentation advises for mutual TLS. */
const MOSQUITTO_ACL = `
pattern write devices/%u/telemetry/+
pattern write devices/%u/events/+
pattern write devices/%u/responses/+
pattern write devices/%u/twin/reported
pattern read devices/%u/commands/+/+
pattern read devices/%u/twin/desired
`;

export function prepareServers(
  borrowed: BenchResources,
  place: { readonly data: string; readonly peers: PeerFiles; readonly profiles: string | undefined },
): Servers {
  const { data, peers, profiles } = place;
  const profiling = profiles === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profiles}`];
  const nodeArgs = [...profiling, '--expose-gc', '--import', SERVER_PRELOAD];
  let starts = 0;
  const bun = findBun();
  const bunArgs = [...BUN_OPTIONS, '--expose-gc', '--preload', fileURLToPath(SERVER_PRELOAD)];
  // Inherited by the servers, where the preloaded module reads it.
  process.env.ROLLCALL_BENCH_DIRECTORY = borrowed.directory;

  async function startRollcall(start: RollcallStart = {}, name: OwnName = 'rollcall'): Promise<RunningRollcall> {
    const { data: own = data, workers = 1, settings = '' } = start;
    starts += 1;
    const config = join(borrowed.directory, `rollcall-${starts}.yaml`);
    writeFileSync(config, `${WITHOUT_RATE_LIMITS}${settings}`);
    const free = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0', '--workers', String(workers)];
    const [program, options, runtime] =
      name === 'rollcall' ? [process.execPath, nodeArgs, 'node'] : [bun?.path ?? '', bunArgs, 'bun'];
    const serve = [ROLLCALL, 'serve', '--runtime', runtime, '--config', config, '--data', own, '--json', ...free];
    const child = borrowed.start({ name, program, args: [...options, ...serve] });
    const ready = JSON.parse(await child.firstLine()) as Record<
      'enrollUrl' | 'mqttUrl' | 'consoleUrl' | 'socket',
      string
    >;
    return {
      ...running(name, child, borrowed.directory, Number(new URL(ready.mqttUrl).port)),
      enrollPort: Number(new URL(ready.enrollUrl).port),
      socketPath: ready.socket,
      consoleUrl: ready.consoleUrl,
    };
  }

  async function startStockAedes(): Promise<RunningServer> {
    const args = [...nodeArgs, STOCK_AEDES, peers.key, peers.chain, peers.trust];
    const child = borrowed.start({ name: 'aedes', program: process.execPath, args });
    return running('aedes', child, borrowed.directory, Number(await child.firstLine()));
  }

  async function startMosquitto(): Promise<RunningServer> {
    const port = await freePort();
    const acl = join(borrowed.directory, 'mosquitto.acl');
    const file = join(borrowed.directory, 'mosquitto.conf');
    writeFileSync(acl, MOSQUITTO_ACL, { mode: 0o600 });
    const lines = [
      `listener ${port} 127.0.0.1`,
      `cafile ${peers.trust}`,
      `certfile ${peers.chain}`,
      `keyfile ${peers.key}`,
      'require_certificate true',
      'use_identity_as_username true',
      'set_tcp_nodelay true',
      `acl_file ${acl}`,
      'allow_anonymous false',
      'persistence false',
      ...(process.getuid?.() === 0 ? ['user root'] : []), // another user couldn't read our temporary files
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    const child = borrowed.start({ name: 'mosquitto', program: MOSQUITTO, args: ['-c', file] });
    await untilListening(port, child);
    return running('mosquitto', child, borrowed.directory, port);
  }

  const missing: Partial<Record<ServerName, string>> = {
    ...(bun === undefined && { rollcallOnBun: 'Bun is not installed (npm ci without --omit=optional)' }),
    ...(!existsSync(MOSQUITTO) && { mosquitto: `${MOSQUITTO} is not installed (Debian: apt install mosquitto)` }),
  };
  const copy = join(borrowed.directory, 'data-on-bun');
  return {
    names: SERVER_NAMES.filter((name) => missing[name] === undefined),
    missing,
    data,
    directory: borrowed.directory,
    startRollcall,
    copyData: () => copyDirectory(data, copy),
    start(name) {
      if (name === 'rollcall') return startRollcall();
      if (name === 'rollcallOnBun') return startRollcall({ data: copy }, name);
      return name === 'aedes' ? startStockAedes() : startMosquitto();
    },
  };
}

/** Of a data directory that no server uses. */
export function copyDirectory(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: isFileOrDirectory });
}

/** Leaves out the operator socket. */
function isFileOrDirectory(path: string): boolean {
  const found = lstatSync(path);
  return found.isFile() || found.isDirectory();
}

function running(name: ServerName, child: Child, directory: string, mqttPort: number): RunningServer {
  const { pid } = child;
  const loopDelayDuring = async (work: () => Promise<unknown>): Promise<LoopDelay> => {
    const file = loopDelayFile(directory, pid);
    process.kill(pid, 'SIGWINCH');
    await work();
    process.kill(pid, 'SIGWINCH');
    for (const end = performance.now() + LOOP_DELAY_WITHIN_MS; !existsSync(file); ) {
      if (performance.now() > end) throw new Error(`${name} did not say how long its event loop was held up`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const delay = JSON.parse(readFileSync(file, 'utf8')) as LoopDelay;
    rmSync(file);
    return delay;
  };
  return { name, pid, mqttPort, collectsGarbage: name !== 'mosquitto', loopDelayDuring, stop: () => child.stop() };
}
