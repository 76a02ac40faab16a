/**
 * A host that joins a run: checks the coordinator's fingerprint before it sends anything, sends the secret, and then runs its
 * shards in threads.
 */

import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { connect, type TLSSocket } from 'node:tls';
import { addressOptions, Problem } from '@rollcall/protocol';
import type { FromShard, ToShard } from '../devices/shard-messages.ts';
import { preciseNow } from '../devices/timer-wheel.ts';
import { machineCapacity } from '../run/capacity.ts';
import { openThread, type ShardPort } from '../run/shard-placement.ts';
import { FrameConnection, FrameRefused, readMessage } from './frames.ts';
import { type FromHost, HOST_PROTOCOL, type ToHost, toHost } from './host-messages.ts';
import { fingerprintOf } from './self-signed-certificate.ts';

export interface JoinOptions {
  readonly host: string;
  readonly port: number;
  /** SHA-256 of the coordinator's certificate, 64 hexadecimal digits. */
  readonly fingerprint: string;
  readonly secret: string;
  /** Of this host; no two in a run have the same. */
  readonly name: string;
  readonly version: string;
  readonly workers?: number | undefined;
  readonly sourceAddresses?: readonly string[];
  /** Milliseconds since 1970 with a fraction; another clock than the machine's in tests. */
  readonly now?: () => number;
  readonly onJoined?: () => void;
  /** Leaves the run, which is lost then. */
  readonly signal?: AbortSignal;
}

export type Verdict = Extract<ToHost, { kind: 'over' }>['verdict'];

const CONNECT_MS = 10_000;
/** The coordinator asks every second. */
const SILENCE_MS = 15_000;
const LOOK_EVERY_MS = 1_000;

/**
 * Resolves with the verdict at the end of the run. Problems: `server_unreachable`, `coordinator_unproven`, what the
 * coordinator refuses with, and `coordinator_lost`.
 */
export async function joinRun(options: JoinOptions): Promise<Verdict> {
  const socket = await reach(options);
  const session = new HostSession(socket, options);
  const leave = () => session.leave();
  options.signal?.addEventListener('abort', leave);
  if (options.signal?.aborted === true) leave();
  try {
    return await session.verdict;
  } finally {
    options.signal?.removeEventListener('abort', leave);
    await session.close();
  }
}

async function reach({ host, port, fingerprint }: JoinOptions): Promise<TLSSocket> {
  // Nobody signs for a coordinator: its fingerprint is what is believed, and nothing is sent before it was seen.
  const socket = connect({
    host,
    port,
    ...addressOptions(host),
    minVersion: 'TLSv1.3',
    rejectUnauthorized: false,
  });
  const timeout = setTimeout(() => socket.destroy(new Error('no answer in time')), CONNECT_MS);
  try {
    await once(socket, 'secureConnect');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new Problem('server_unreachable', {
      detail: 'no coordinator of a run was found',
      reason: `${host}:${port}: ${code ?? message}`,
      hint: 'start it first, with --coordinate; it prints the line to join with',
    });
  } finally {
    clearTimeout(timeout);
  }
  const certificate = socket.getPeerX509Certificate();
  if (certificate !== undefined && fingerprintOf(certificate) === fingerprint) return socket;
  socket.destroy();
  throw new Problem('coordinator_unproven', {
    reason: `expected fingerprint ${fingerprint}, found ${certificate === undefined ? 'none' : fingerprintOf(certificate)}`,
  });
}

class HostSession {
  readonly verdict: Promise<Verdict>;
  readonly #end = Promise.withResolvers<Verdict>();
  readonly #options: JoinOptions;
  readonly #line: FrameConnection;
  readonly #now: () => number;
  readonly #shards = new Map<number, ShardPort>();
  readonly #watch: NodeJS.Timeout;
  #isLeaving = false;

  constructor(socket: TLSSocket, options: JoinOptions) {
    this.#options = options;
    this.#now = options.now ?? preciseNow;
    this.verdict = this.#end.promise;
    this.#line = new FrameConnection(socket, {
      text: (text) => this.#hear(text),
      closed: (reason) => this.#end.reject(this.#isLeaving ? left() : new Problem('coordinator_lost', { reason })),
    });
    this.#line.markAuthenticated();
    this.#watch = setInterval(() => {
      if (performance.now() - this.#line.lastReceivedAt <= SILENCE_MS) return;
      this.#line.destroy(`it said nothing for ${SILENCE_MS / 1_000} s`);
    }, LOOK_EVERY_MS);
    const { secret, version, name, sourceAddresses = [] } = options;
    const cores = availableParallelism();
    this.#line.send({
      ...{ protocol: HOST_PROTOCOL, secret, version, name, cores, workers: options.workers ?? cores },
      ...{ ...machineCapacity(), sourceAddresses: sourceAddresses.length, memory: process.memoryUsage.rss() },
    });
  }

  leave(): void {
    this.#isLeaving = true;
    this.#line.destroy('it left');
  }

  async close(): Promise<void> {
    clearInterval(this.#watch);
    this.#line.destroy('it left');
    await Promise.all([...this.#shards.values()].map((shard) => shard.close()));
  }

  #hear(text: string): void {
    let message: ToHost;
    try {
      message = readMessage(toHost, text);
    } catch (error) {
      if (!(error instanceof FrameRefused)) throw error;
      this.#line.destroy(error.message);
      return;
    }
    switch (message.kind) {
      case 'welcome':
        this.#options.onJoined?.();
        return;
      case 'refused':
        this.#end.reject(new Problem(message.code, message.reason === '' ? {} : { reason: message.reason }));
        return;
      case 'ping':
        this.#send({ kind: 'pong', id: message.id, at: this.#now(), memory: process.memoryUsage.rss() });
        return;
      case 'shard':
        this.#pass(message.shard, message.message);
        return;
      case 'over':
        this.#end.resolve(message.verdict);
    }
  }

  #pass(shard: number, message: ToShard): void {
    if (message.kind !== 'prepare') {
      this.#shards.get(shard)?.post(message);
      return;
    }
    const port = openThread({
      message: (said) => this.#say(shard, said),
      lost: (error) => this.#say(shard, { kind: 'failed', error: error.message }),
    });
    this.#shards.set(shard, port);
    // Addresses are this machine's own.
    port.post({ ...message, config: { ...message.config, sourceAddresses: this.#options.sourceAddresses ?? [] } });
  }

  #say(shard: number, message: FromShard): void {
    this.#send({ kind: 'shard', shard, message });
  }

  #send(message: FromHost): void {
    this.#line.send(message);
  }
}

function left(): Problem {
  return new Problem('coordinator_lost', { detail: 'this host left the run' });
}
