/**
 * The coordinator of a run on several hosts: listens with a certificate of its own, accepts hosts that have the secret and its
 * version before the run is full, and places the shards of the run on them.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import { listenAddress, Problem } from '@rollcall/protocol';
import { shortfall } from '../run/capacity.ts';
import type { HostOfRun } from '../run/result.ts';
import { RunRefused } from '../run/run-options.ts';
import { type FleetSize, type PlacementStrategy, type ShardPlacement, threadsFor } from '../run/shard-placement.ts';
import { FrameConnection, FrameRefused, readMessage } from './frames.ts';
import { HostConnection } from './host-connection.ts';
import { type JoinRefusal, joinHeader, joinRequest, type ToHost } from './host-messages.ts';
import { createSelfSignedCertificate } from './self-signed-certificate.ts';

export interface CoordinatorOptions {
  /** Address to listen on; port 0 for any. */
  readonly host: string;
  readonly port: number;
  /** How many hosts the run has. */
  readonly hosts: number;
  readonly version: string;
  /** Shared with those who may join; made here without one. */
  readonly secret?: string | undefined;
  readonly now: () => number;
  /** Hosts that join, leave or are refused; for the operator. */
  readonly onEvent?: (sentence: string) => void;
}

const SECRET_BYTES = 32;
/** For the handshake, and again for the first message. */
const JOIN_TIMEOUT_MS = 5_000;
/** Connections that have proven nothing yet, at one time. */
const PENDING_CONNECTIONS_MAX = 16;
/** For the order to start to be everywhere before the clock starts. */
const START_DELAY_MS = 1_000;

export class Coordinator {
  readonly secret: string;
  readonly fingerprint: string;
  readonly #options: CoordinatorOptions;
  readonly #server: Server;
  readonly #hosts: HostConnection[] = [];
  readonly #full = Promise.withResolvers<void>();
  #isFull = false;

  private constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.secret = options.secret ?? randomBytes(SECRET_BYTES).toString('base64url');
    const { keyPem, certificatePem, fingerprint } = createSelfSignedCertificate(options.now());
    this.fingerprint = fingerprint;
    this.#server = createServer({
      key: keyPem,
      cert: certificatePem,
      minVersion: 'TLSv1.3',
      handshakeTimeout: JOIN_TIMEOUT_MS,
    });
    this.#server.maxConnections = options.hosts + PENDING_CONNECTIONS_MAX;
    this.#server.on('tlsClientError', (_, socket) => socket.destroy());
    this.#server.on('secureConnection', (socket) => this.#accept(socket));
  }

  static async listen(options: CoordinatorOptions): Promise<Coordinator> {
    const coordinator = new Coordinator(options);
    coordinator.#server.listen(options.port, listenAddress(options.host));
    await once(coordinator.#server, 'listening').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error;
      throw new Problem('address_in_use', { reason: `${options.host}:${options.port}` });
    });
    return coordinator;
  }

  get port(): number {
    return (this.#server.address() as { readonly port: number }).port;
  }

  /** Resolves when all hosts are here and their clocks are known. Problem `hosts_missing` when the time is up before. */
  async waitForHosts(within: number, signal?: AbortSignal): Promise<void> {
    const early = Promise.withResolvers<never>();
    const stop = (reason: string) => {
      const names = this.#hosts.map(({ name }) => name).join(', ') || 'none';
      early.reject(
        new Problem('hosts_missing', {
          reason: `expected ${this.#options.hosts}, found ${this.#hosts.length} (${names}) ${reason}`,
        }),
      );
    };
    const timer = setTimeout(() => stop(`within ${within / 1_000} s`), within);
    const stopped = () => stop('when the run was ended');
    signal?.addEventListener('abort', stopped);
    if (signal?.aborted === true) stopped();
    try {
      const clocksKnown = this.#full.promise.then(() => Promise.all(this.#hosts.map((host) => host.measureClock())));
      await Promise.race([clocksKnown, early.promise]);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stopped);
    }
    const lost = this.#hosts.find(({ lostBecause }) => lostBecause !== undefined);
    if (lost !== undefined) throw lost.lostBecause as Problem;
  }

  /** The places of the run: threads of the hosts, in the order of their names, so that the same hosts get the same devices. */
  get placement(): PlacementStrategy {
    return (fleet) => {
      const hosts = [...this.#hosts].sort((a, b) => (a.name < b.name ? -1 : 1));
      const each = Math.ceil(fleet.devices / hosts.length);
      const shardHosts = hosts.flatMap((host) =>
        Array.from({ length: threadsFor(each, host.joinRequest.workers) }, () => host),
      );
      for (const host of hosts)
        checkHost(host, shardHosts.filter((one) => one === host).length / shardHosts.length, fleet);
      return this.#placesOn(shardHosts, hosts);
    };
  }

  /** Tells every host the end, and closes. */
  async close(verdict: 'passed' | 'failed' | 'none'): Promise<void> {
    this.#isFull = true;
    for (const host of this.#hosts) host.end(verdict);
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, 'close');
  }

  #placesOn(shardHosts: readonly HostConnection[], hosts: readonly HostConnection[]): ShardPlacement {
    const hostOf = (shard: number) => shardHosts[shard] as HostConnection;
    return {
      shards: shardHosts.length,
      sourceAddresses: [],
      startDelay: START_DELAY_MS,
      clockOffset: (shard) => hostOf(shard).clock.offset,
      open: (shard, events) => hostOf(shard).open(shard, events),
      memory: () => hosts.reduce((sum, { memory }) => sum + memory, 0),
      hosts: () => hosts.map((host) => reportOf(host, shardHosts.filter((one) => one === host).length)),
    };
  }

  #accept(socket: TLSSocket): void {
    const address = socket.remoteAddress ?? 'an unknown address';
    let host: HostConnection | undefined;
    const timeout = setTimeout(() => line.destroy('it did not say who it is'), JOIN_TIMEOUT_MS);
    const line = new FrameConnection(socket, {
      text: (text) => {
        if (host !== undefined) return host.handleText(text);
        clearTimeout(timeout);
        host = this.#admit(text, address, line);
      },
      closed: (reason) => {
        clearTimeout(timeout);
        if (host !== undefined) this.#left(host, reason);
      },
    });
  }

  #admit(text: string, address: string, line: FrameConnection): HostConnection | undefined {
    try {
      const first = readMessage(joinHeader, text);
      const refusal = this.#refusalOf(first);
      if (refusal !== undefined) return this.#refuse(refusal, address, line);
      const who = readMessage(joinRequest, text);
      if (this.#isFull)
        return this.#refuse(['join_late', `the run has its ${this.#options.hosts} hosts`], address, line);
      if (this.#hosts.some(({ name }) => name === who.name)) {
        return this.#refuse(['join_twice', `"${who.name}" is here already`], address, line);
      }
      const host = new HostConnection(who, address, line);
      this.#hosts.push(host);
      line.markAuthenticated();
      line.send({ kind: 'welcome' } satisfies ToHost);
      this.#tell(`host ${who.name} joined from ${address}: ${this.#hosts.length} of ${this.#options.hosts}`);
      if (this.#hosts.length === this.#options.hosts) {
        this.#isFull = true;
        this.#full.resolve();
      }
      return host;
    } catch (error) {
      if (!(error instanceof FrameRefused)) throw error;
      line.destroy(error.message);
      this.#tell(`a client from ${address} was refused: ${error.message}`);
      return undefined;
    }
  }

  #refusalOf({
    secret,
    version,
  }: {
    readonly secret: string;
    readonly version: string;
  }): readonly [JoinRefusal, string] | undefined {
    const digest = (text: string) => createHash('sha256').update(text).digest();
    if (!timingSafeEqual(digest(secret), digest(this.secret))) return ['join_secret_wrong', ''];
    if (version === this.#options.version) return undefined;
    return ['join_version_mismatch', `the run is of version ${this.#options.version}, this host of another`];
  }

  #refuse([code, reason]: readonly [JoinRefusal, string], address: string, line: FrameConnection): undefined {
    line.sendAndClose({ kind: 'refused', code, reason } satisfies ToHost);
    this.#tell(`a host from ${address} was refused: ${code}`);
  }

  /** Before the run another host may take its place; during the run its shards are lost. */
  #left(host: HostConnection, reason: string): void {
    host.closed(reason);
    if (this.#isFull) return;
    this.#hosts.splice(this.#hosts.indexOf(host), 1);
    this.#tell(`host ${host.name} left: ${reason}`);
  }

  #tell(sentence: string): void {
    this.#options.onEvent?.(sentence);
  }
}

function checkHost(
  { name, joinRequest: { openFiles, portsPerAddress, sourceAddresses } }: HostConnection,
  share: number,
  fleet: FleetSize,
) {
  const part = { devices: Math.ceil(fleet.devices * share), behindProxy: Math.ceil(fleet.behindProxy * share) };
  const missing = shortfall({ ...part, sourceAddresses }, { openFiles, portsPerAddress });
  if (missing !== undefined) throw new RunRefused(`host "${name}": ${missing}`);
}

function reportOf(host: HostConnection, workers: number): HostOfRun {
  const { offset, error } = host.clock;
  return {
    name: host.name,
    address: host.address,
    cores: host.joinRequest.cores,
    workers,
    devices: host.devices,
    sourceAddresses: host.joinRequest.sourceAddresses,
    clockOffsetMs: offset,
    clockErrorMs: error,
  };
}
