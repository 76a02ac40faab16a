/** A node of the cluster under test: `bin/rollcall serve` as a process, which a fault kills and which then starts again with the same data. */

import { setTimeout as passed } from 'node:timers/promises';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { type RunningServer, serve } from '../fixtures/program.ts';

export interface ServedNodeOptions {
  readonly name: string;
  readonly data: string;
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** A program that starts others, and its arguments: that of a network namespace. */
  readonly below?: readonly string[] | undefined;
  /** In place of `bin/rollcall`. */
  readonly program?: string | undefined;
  /** The longest time that a process of it runs, ms. */
  readonly longest: number;
}

const START_AGAIN_AFTER_MS = 500;

/** Limits that devices under faults would meet. */
export const NO_LIMITS = {
  ROLLCALL_REQUESTS_PER_SECOND_PER_ADDRESS: '0',
  ROLLCALL_MQTT_LIMITS_MESSAGES_PER_SECOND: '0',
  ROLLCALL_MQTT_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
  ROLLCALL_ENROLL_LIMITS_ENROLLMENTS_PER_SECOND: '0',
  ROLLCALL_ENROLL_LIMITS_ENROLLMENTS_PER_SECOND_PER_ADDRESS: '0',
  ROLLCALL_ENROLL_LIMITS_CONNECTIONS_PER_SECOND_PER_ADDRESS: '0',
};

export class ServedNode {
  readonly name: string;
  readonly data: string;
  /** How often it ended by itself. */
  failures = 0;
  readonly #options: ServedNodeOptions;
  #running: { readonly server: RunningServer; readonly operator: ConsoleClient } | undefined;
  #log = '';
  /** No process of it may start before `start`. */
  #isEnded = false;

  constructor(options: ServedNodeOptions) {
    this.name = options.name;
    this.data = options.data;
    this.#options = options;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Where devices connect; undefined while it does not run. */
  get mqttUrl(): string | undefined {
    return this.#running?.server.ready.mqttUrl;
  }

  get enrollUrl(): string | undefined {
    return this.#running?.server.ready.enrollUrl;
  }

  /** Throws while it does not run. */
  get operator(): ConsoleClient {
    if (this.#running === undefined) throw new Error(`node ${this.name} does not run`);
    return this.#running.operator;
  }

  /** Of all of its processes. */
  get log(): string {
    return this.#log + (this.#running?.server.log() ?? '');
  }

  /** Resolves when it is ready. Rejects with its output when it ends before. */
  async start(): Promise<void> {
    this.#isEnded = false;
    await this.#serve();
  }

  async #serve(): Promise<void> {
    const { data, environment, below, program, longest } = this.#options;
    const server = await serve(data, ['--node-name', this.name, ...this.#options.arguments], {
      environment: { ...NO_LIMITS, ...environment },
      longest,
      ...(below && { below }),
      ...(program !== undefined && { program }),
    });
    if (this.#isEnded) return void (await server.end('SIGKILL'));
    const running = { server, operator: openConsoleClient({ socketPath: server.ready.socket }) };
    this.#running = running;
    void server.ended.then(() => {
      if (this.#running !== running) return;
      this.failures += 1;
      void this.#forget();
      void this.#startAgain();
    });
  }

  /** Stops and continues it. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    if (this.#running !== undefined) process.kill(this.#running.server.pid, signal);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    this.#isEnded = true;
    const server = await this.#forget();
    await server?.end(signal);
  }

  async #forget(): Promise<RunningServer | undefined> {
    const running = this.#running;
    if (running === undefined) return undefined;
    this.#running = undefined;
    const { server, operator } = running;
    void server.ended.then(({ stderr }) => {
      this.#log += stderr;
    });
    await operator.close();
    return server;
  }

  /** As a service manager does, until it is ready. */
  async #startAgain(): Promise<void> {
    for (;;) {
      await passed(START_AGAIN_AFTER_MS);
      if (this.#running !== undefined || this.#isEnded) return;
      try {
        await this.#serve();
        return;
      } catch (error) {
        this.#log += (error as Error).message;
      }
    }
  }
}
