/** One node as a process of its own: `rollcall serve` with a data directory and ports of its own. It is started again when it ends. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { NODE_ROLES, Problem } from '@rollcall/protocol';
import { parse, stringify } from 'yaml';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { NO_ENROLL_LIMITS } from '../../enroll/index.ts';
import { freePort } from '../free-port.ts';
import { mergedSettings, type Settings } from '../merged-settings.ts';
import { endChild, isRunning, spawnChild } from './child-processes.ts';
import { joinNode } from './join-process.ts';

export interface NodeStore {
  readonly url: string;
  readonly passwordFile: string;
  readonly standbys: number;
  readonly caFile?: string;
}

export interface NodeProcessOptions {
  readonly name: string;
  /** Its data directory, configuration and log are in it. */
  readonly directory: string;
  readonly store: NodeStore;
  /** As in rollcall.example.yaml, over those that it has here. */
  readonly settings?: Settings | undefined;
  /** `cli/main.ts` of another release. */
  readonly main?: string | undefined;
  /** Called when it ends without `close`: `SIGKILL`, or `code 1`. */
  readonly onEnd: (how: string) => void;
  readonly onRestarted: () => void;
}

const MAIN = fileURLToPath(new URL('../main.ts', import.meta.url));
const START_MS = 60_000;
const STOP_MS = 15_000;
const RESTART_MS = 5_000;
const PROBE_MS = 1_000;

export class NodeProcess {
  readonly name: string;
  readonly data: string;
  readonly mqttPort: number;
  readonly enrollPort: number;
  /** Of `/readyz`. */
  readonly healthPort: number;
  readonly operator: ConsoleClient;
  /** The program of its next start. */
  main: string;
  readonly #options: NodeProcessOptions;
  readonly #config: string;
  readonly #consolePort: number;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #isClosing = false;

  /** Writes its configuration and starts nothing. */
  static async prepare(options: NodeProcessOptions): Promise<NodeProcess> {
    const [enroll, mqtt, console, health] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
    return new NodeProcess(options, { enroll, mqtt, console, health });
  }

  private constructor(
    options: NodeProcessOptions,
    ports: { readonly enroll: number; readonly mqtt: number; readonly console: number; readonly health: number },
  ) {
    const { name, directory } = options;
    this.#options = options;
    this.name = name;
    this.main = options.main ?? MAIN;
    this.data = join(directory, name);
    this.mqttPort = ports.mqtt;
    this.enrollPort = ports.enroll;
    this.healthPort = ports.health;
    this.#consolePort = ports.console;
    this.#config = join(directory, `${name}.yaml`);
    mkdirSync(this.data, { mode: 0o700 });
    this.#writeConfig({ data: this.data, store: options.store, node: { name } });
    this.operator = openConsoleClient({ socketPath: join(this.data, 'console.sock') });
  }

  /** Before its first start: it becomes a node by a token, as a person does it, and has what it got. */
  async join(fleet: Pick<NodeProcess, 'operator' | 'enrollPort'>): Promise<void> {
    const { text: token } = await fleet.operator.createNodeToken({ withCaKeys: true });
    await joinNode({
      ...{ main: this.main, token, name: this.name, roles: NODE_ROLES, data: this.data },
      url: `https://localhost:${fleet.enrollPort}`,
    });
    this.#writeConfig(parse(readFileSync(join(this.data, 'rollcall.yaml'), 'utf8')) as Settings);
  }

  #writeConfig(base: Settings): void {
    const { enrollPort, mqttPort, healthPort } = this;
    const own = {
      health: { listen: true, port: healthPort },
      // All devices come from one address.
      requests: { perSecondPerAddress: 0 },
      enroll: { port: enrollPort, limits: NO_ENROLL_LIMITS },
      mqtt: { port: mqttPort, limits: { connectionsPerSecondPerAddress: 0 } },
      console: { port: this.#consolePort },
      telemetry: { retention: { age: '1d' } },
    };
    const settings = mergedSettings(mergedSettings(base, own), this.#options.settings ?? {});
    writeFileSync(this.#config, stringify(settings));
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return isRunning(this.#child) ? this.#child.pid : undefined;
  }

  /** Resolves when it is ready. Throws Problem `internal` with the last line of its log when it ends before. */
  async start(): Promise<void> {
    const { name, directory } = this.#options;
    const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
    const file = join(directory, `${name}.log`);
    const log = openSync(file, 'a', 0o600);
    const child = spawnChild(process.execPath, [this.main, 'serve', '--config', this.#config, '--json'], {
      stdio: ['ignore', 'pipe', log],
      env: { PATH, HOME, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }) },
      atParentsDeath: 'SIGTERM',
    });
    closeSync(log);
    this.#child = child;
    child.once('exit', (code, signal) => this.#ended(child, signal ?? `code ${code}`));
    const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream });
    const timeout = setTimeout(() => child.kill('SIGKILL'), START_MS);
    try {
      await Promise.race([
        once(lines, 'line'),
        once(child, 'exit').then(([code, signal]) => {
          const detail = `${name} ended with ${signal ?? code} before it was ready`;
          throw new Problem('internal', { detail, reason: lastLineOf(file) });
        }),
      ]);
    } finally {
      clearTimeout(timeout);
    }
  }

  /** Whether it takes devices, as a load balancer asks it. */
  async isReady(): Promise<boolean> {
    if (this.pid === undefined) return false;
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      return (await fetch(`http://127.0.0.1:${this.healthPort}/readyz`, { signal })).ok;
    } catch {
      return false;
    }
  }

  /** Ends it, waits so many milliseconds, starts it again, and resolves when it is ready. */
  async restart(signal: NodeJS.Signals, downFor: number): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    await endChild(child, signal, STOP_MS);
    await delay(downFor);
    await this.start();
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    clearTimeout(this.#restart);
    await this.operator.close();
    await endChild(this.#child, 'SIGTERM', STOP_MS);
  }

  #ended(child: ChildProcess, how: string): void {
    if (this.#isClosing || child !== this.#child) return;
    this.#options.onEnd(how);
    this.#restart = setTimeout(() => {
      // One that ends before it is ready is started again by its end.
      void this.start().then(this.#options.onRestarted, () => {});
    }, RESTART_MS);
  }
}

function lastLineOf(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').at(-1) ?? '';
}
