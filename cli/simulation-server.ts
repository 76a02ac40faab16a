/**
 * A temporary server for a simulation: the real program in a temporary directory, without limits per address. The run may kill and restart
 * it. It ends with the process that started it, however that ends.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Problem } from '@rollcall/protocol';
import { stringify } from 'yaml';
import { NO_ENROLL_LIMITS } from '../enroll/index.ts';
import type { ServerControl } from '../simulator/index.ts';
import { freePort } from './free-port.ts';
import { mergedSettings } from './merged-settings.ts';

export interface TemporaryServer extends ServerControl {
  readonly socket: string;
  /** Its data directory. */
  readonly data: string;
  readonly mqttUrl: string;
  /** Ends it and removes its directory. */
  close(): Promise<void>;
}

export interface TemporaryServerOptions {
  /** As in rollcall.example.yaml; over those that a simulation needs. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** A small disk of its own (tmpfs), so that it can be filled. Needs root on Linux. */
  readonly disk: 'shared' | 'own';
  /** Puts into the data directory (0700) what the server shall find when it starts. */
  readonly prepareData?: (data: string) => void | Promise<void>;
}

/** Of MQTT: the whole fleet comes from one address. */
export const NO_FLEET_LIMITS = {
  connectionsPerSecondPerAddress: 0,
  handshakes: 0,
  handshakesPerAddress: 0,
  takeoversPerMinute: 0,
};

/** Ends when the channel to this process closes. */
const PROGRAM = fileURLToPath(new URL('../bin/child.js', import.meta.url));
const START_MS = 30_000;
const STOP_MS = 20_000;
const OWN_DISK = '48m';

export async function startTemporaryServer({
  settings,
  disk,
  prepareData,
}: TemporaryServerOptions): Promise<TemporaryServer> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-simulation-'));
  const data = join(directory, 'data');
  mkdirSync(data, { mode: 0o700 });
  const isMounted = disk === 'own' && mountOwnDisk(data);
  const [enroll, mqtt, console] = await Promise.all([freePort(), freePort(), freePort()]);
  const config = join(directory, 'rollcall.yaml');
  writeFileSync(config, stringify(mergedSettings(baseSettings(data, { enroll, mqtt, console }), settings)));
  const log = openSync(join(directory, 'server.log'), 'a');
  let server: ChildProcess | undefined;
  // On a slow machine one restart is due before the one before it has ended: it waits for its turn.
  let restarted: Promise<void> = Promise.resolve();
  const start = async () => {
    server = await startProgram(config, log);
  };
  const stop = async (signal: NodeJS.Signals) => {
    const running = server;
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, 'exit');
    running.kill(signal);
    const timeout = setTimeout(() => running.kill('SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(timeout);
  };
  const close = async () => {
    await stop('SIGTERM');
    if (isMounted) spawnSync('umount', [data]);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await prepareData?.(data);
    await start();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    socket: join(data, 'console.sock'),
    data,
    mqttUrl: `mqtts://localhost:${mqtt}`,
    restart: (how, downFor) => {
      const turn = restarted.then(async () => {
        await stop(how === 'kill' ? 'SIGKILL' : 'SIGTERM');
        await delay(downFor);
        await start();
      });
      restarted = turn.catch(() => {});
      return turn;
    },
    fillDisk: async (forMs) => {
      if (!isMounted) throw new Error('expected to be root on Linux, to give the server a small disk of its own');
      const ballast = join(data, 'ballast');
      const { bavail, bsize } = statfsSync(data);
      // The disk is full whatever order blocks are taken in: what is left over goes to a second file.
      spawnSync('dd', ['if=/dev/zero', `of=${ballast}`, 'bs=64k', `count=${Math.ceil((bavail * bsize) / 65_536) + 1}`]);
      await delay(forMs);
      rmSync(ballast, { force: true });
    },
    close,
  };
}

function baseSettings(
  data: string,
  ports: { readonly enroll: number; readonly mqtt: number; readonly console: number },
) {
  return {
    data,
    log: { level: 'warn' },
    requests: { perSecondPerAddress: 0 },
    enroll: { port: ports.enroll, limits: NO_ENROLL_LIMITS },
    mqtt: {
      port: ports.mqtt,
      limits: NO_FLEET_LIMITS,
    },
    console: { port: ports.console },
  };
}

async function startProgram(config: string, log: number): Promise<ChildProcess> {
  const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
  const child = spawn(process.execPath, [PROGRAM, 'serve', '--config', config, '--json'], {
    stdio: ['ignore', 'pipe', log, 'ipc'],
    env: { PATH, HOME, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }) },
  });
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
  const timeout = setTimeout(() => child.kill('SIGKILL'), START_MS);
  try {
    await Promise.race([
      once(lines, 'line'),
      once(child, 'exit').then(([code]) => {
        throw new Problem('internal', { reason: `the temporary server ended with ${code} before it was ready` });
      }),
    ]);
  } finally {
    clearTimeout(timeout);
  }
  return child;
}

function mountOwnDisk(path: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${OWN_DISK},mode=0700`, 'rollcall', path]).status === 0;
}
