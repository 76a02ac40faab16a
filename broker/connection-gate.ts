/**
 * The decision about every connection, full and resumed handshakes alike, in one order: certificate, registry, policy,
 * client id, will, takeover. Nothing of aedes exists for a connection before it has passed.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { formatIdentity, type Identity, identityUri, parseIdentityUri } from '../contract/identity.ts';
import type { Standing } from '../registry/registry.ts';
import { networkOf } from '../throttle/network.ts';
import { TokenBuckets } from '../throttle/token-buckets.ts';
import type { Rights, Subject } from './acl.ts';
import type { Takeover } from './clone-watch.ts';
import type { Counters } from './counters.ts';
import type { Door, HalfOpen } from './door.ts';
import type { BrokerEvent, ConnectFailure, PeerDescription } from './events.ts';
import type { BrokerLimits } from './limits.ts';
import { MqttWire, type WireOwner } from './mqtt-wire.ts';
import type { ConnectFields } from './packet-rules.ts';
import { describePeer, type Peer, PeerJudge } from './peer.ts';
import type { Policies } from './policies.ts';
import type { Session } from './session.ts';
import type { Sessions } from './sessions.ts';
import type { Violation } from './violations.ts';

/** What the broker needs of the registry here. */
export interface StandingDirectory {
  standing(serial: string): Promise<Standing>;
  /** A renewed certificate passed every check for the first time: it supersedes the others of its device. */
  proveCertificate(serial: string): Promise<boolean>;
}

/** A connection that passed every check. */
export interface Admitted {
  readonly wire: MqttWire;
  readonly subject: Subject;
  readonly rights: Rights;
  readonly connect: ConnectFields;
  readonly address: string;
  readonly serial: string;
  readonly notAfter: number;
}

export interface ConnectionGateOptions {
  readonly limits: BrokerLimits;
  readonly trustDomain: string;
  readonly directory: StandingDirectory;
  readonly policies: Policies;
  readonly sessions: Sessions;
  readonly door: Door;
  readonly counters: Counters;
  readonly log: Logger;
  readonly now: () => number;
  readonly onEvent: (event: BrokerEvent) => void;
  /** A live session is about to be displaced by another of the same client id. */
  readonly tookOver: (takeover: Takeover) => void;
  /** Called in the same turn in which the last check passed. */
  readonly admitted: (admitted: Admitted) => void;
}

/** CONNACK return codes (MQTT 3.1.1, table 3.1). */
const CONNACK = { version: 1, identifier: 2, unavailable: 3, notAuthorized: 5 } as const;
const LINGER = 1_000;

const CONNACK_OF: Partial<Record<ConnectFailure, number>> = {
  protocol_version: CONNACK.version,
  client_id_missing: CONNACK.identifier,
  client_id_not_allowed: CONNACK.identifier,
  registry_failed: CONNACK.unavailable,
  policy_failed: CONNACK.unavailable,
  takeover_limited: CONNACK.unavailable,
  server_shutdown: CONNACK.unavailable,
};

/** No answer at all: they do not speak MQTT, or not to the end. */
const UNANSWERED: ReadonlySet<ConnectFailure> = new Set(['protocol_violation', 'connect_timeout']);

export class ConnectionGate {
  readonly #options: ConnectionGateOptions;
  readonly #logBuckets: TokenBuckets;
  readonly #arrivals = new Set<Arrival>();
  #peers: PeerJudge;
  #changes = 0;
  #isClosed = false;

  constructor(options: ConnectionGateOptions, issuers: readonly X509Certificate[]) {
    this.#options = options;
    this.#peers = new PeerJudge(issuers);
    const perMinute = options.limits.refusalLogsPerMinute;
    this.#logBuckets = new TokenBuckets({ perSecond: perMinute / 60, burst: perMinute });
  }

  /** Whoever is on the way in is judged again: it may have come under a CA that counts no more. */
  setIssuers(issuers: readonly X509Certificate[]): void {
    this.#peers = new PeerJudge(issuers);
    for (const arrival of this.#arrivals) {
      const judged = this.#peers.judge(arrival.wire.socket);
      if ('refusal' in judged) arrival.refuse(judged.refusal.reason, judged.refusal.detail);
    }
  }

  /** Whoever was found good before this moment is asked for again before being let in. */
  standingChanged(): void {
    this.#changes += 1;
  }

  close(): void {
    this.#isClosed = true;
    for (const arrival of this.#arrivals) arrival.refuse('server_shutdown');
  }

  /** A handshake is finished. */
  accept(socket: TLSSocket): void {
    try {
      this.#judge(socket);
    } catch (error) {
      this.fail(error, socket.remoteAddress ?? ''); // no certificate ends the process
      socket.destroy();
    }
  }

  fail(error: unknown, address: string): void {
    this.#options.log.error({ err: error, address }, 'connection could not be judged');
  }

  #judge(socket: TLSSocket): void {
    const half = this.#options.door.find(socket);
    half?.secured();
    const address = half?.address ?? socket.remoteAddress ?? '';
    const judged = this.#peers.judge(socket);
    if ('refusal' in judged) {
      const { reason, detail, certificate } = judged.refusal;
      half?.settle();
      this.report(reason, address, { detail, certificate });
      endSocket(socket, connack(CONNACK.notAuthorized));
      return;
    }
    const arrival = new Arrival(this, socket, judged.peer, address, half, this.#options.limits);
    this.#arrivals.add(arrival);
    this.#admit(arrival).catch((error: unknown) => arrival.failed(error));
  }

  async #admit(arrival: Arrival): Promise<void> {
    const { policies, sessions } = this.#options;
    const { peer } = arrival;
    for (;;) {
      const changes = this.#changes;
      const policyVersion = policies.version;

      const standing = await this.#standingOf(peer.serial);
      if (standing === undefined) return arrival.refuse('registry_failed');
      if (standing.state === 'unknown') return arrival.refuse('serial_unknown');
      arrival.identity = standing.holder;
      if (standing.state === 'revoked') {
        return arrival.refuse(standing.reason === 'superseded' ? 'superseded' : 'revoked');
      }
      if (standing.state === 'superseded') return arrival.refuse('superseded');
      if (standing.state !== 'good' && standing.state !== 'quarantined') return arrival.refuse('suspended');
      const uri = identityUri(this.#options.trustDomain, standing.holder);
      // A name that could stand for a topic filter is refused even if our own authority signed it.
      const isNamed = parseIdentityUri(this.#options.trustDomain, uri) !== undefined;
      if (!isNamed || peer.san !== `URI:${uri}`) {
        return arrival.refuse('identity_mismatch', formatIdentity(standing.holder));
      }
      const { notAfter } = standing;
      if (notAfter <= this.#options.now()) return arrival.refuse('certificate_expired');
      const subject: Subject = {
        identity: standing.holder,
        group: standing.group,
        labels: standing.labels,
        ...(standing.state === 'quarantined' && { isQuarantined: true }),
      };
      const rights = await this.#rightsOf(subject);
      if (rights === undefined) return arrival.refuse('policy_failed');

      const connect = await arrival.connect;
      if (connect === undefined) return; // it went away, or broke the protocol
      const faults = refusalOf(connect, rights);
      if (faults !== undefined) return arrival.refuse(faults.reason, faults.detail);

      if (!(await this.#clearTheWay(arrival, connect.clientId))) return;
      if (arrival.wire.isGone) return arrival.leave();
      if (this.#isClosed) return arrival.refuse('server_shutdown');
      // What was read before the waiting has to be true now.
      if (changes !== this.#changes || policyVersion !== policies.version) continue;
      if (sessions.find(connect.clientId) !== undefined) continue;
      if (standing.isUnproven === true && !arrival.hasProven) {
        // Last of all: from here on the certificate before it is worth nothing, so nothing may refuse this one any more.
        arrival.hasProven = true;
        await this.#prove(peer.serial);
        continue;
      }

      arrival.leave();
      const { wire, address } = arrival;
      this.#options.admitted({ wire, subject, rights, connect, address, serial: peer.serial, notAfter });
      return;
    }
  }

  /** Undefined when the registry cannot answer: then nobody gets in. */
  async #standingOf(serial: string): Promise<Standing | undefined> {
    try {
      return await this.#options.directory.standing(serial);
    } catch (error) {
      this.#options.log.error({ err: error, serial }, 'registry did not answer');
      return undefined;
    }
  }

  /** Who can't be recorded is let in: a full disk must not lock out what it can't supersede either. */
  async #prove(serial: string): Promise<void> {
    try {
      // Whoever comes with what is superseded now, and was found good before this moment, is asked for again.
      if (await this.#options.directory.proveCertificate(serial)) this.standingChanged();
    } catch (error) {
      this.#options.log.error({ err: error, serial }, 'certificate could not be recorded as proven');
    }
  }

  async #rightsOf(subject: Subject): Promise<Rights | undefined> {
    try {
      return await this.#options.policies.rightsOf(subject);
    } catch (error) {
      this.#options.log.error({ err: error, identity: formatIdentity(subject.identity) }, 'policy could not be read');
      return undefined;
    }
  }

  /** Ends the session that has this client id, and waits until aedes has let go of it [MQTT-3.1.4-2]. */
  async #clearTheWay(arrival: Arrival, clientId: string): Promise<boolean> {
    const { sessions, counters, now } = this.#options;
    const previous = sessions.find(clientId);
    if (previous === undefined) return true;
    if (!previous.isEnded) {
      if (!arrival.hasTakenOver) this.#noteTakeover(arrival, previous);
      if (!arrival.hasTakenOver && !arrival.hasProven && !sessions.mayTakeOver(clientId, now())) {
        arrival.refuse('takeover_limited');
        return false;
      }
      arrival.hasTakenOver = true;
      counters.takeovers += 1;
      previous.end('session_taken_over');
    }
    await previous.finished();
    return true;
  }

  /** Also of those that are about to be refused: who insists so often is more suspicious, not less. */
  #noteTakeover(arrival: Arrival, { facts }: Session): void {
    this.#options.tookOver({
      identity: facts.subject.identity,
      clientId: facts.clientId,
      from: facts.address,
      fromSerial: facts.serial,
      to: arrival.address,
      toSerial: arrival.peer.serial,
    });
  }

  forget(arrival: Arrival): void {
    this.#arrivals.delete(arrival);
  }

  /** Counts, reports and (not too often per address) logs a connection that does not become a session. */
  report(
    reason: ConnectFailure,
    address: string,
    about: {
      detail?: string | undefined;
      certificate?: X509Certificate | undefined;
      identity?: Identity | undefined;
    } = {},
  ): void {
    const { counters, log, now, onEvent } = this.#options;
    counters.countRefusal(reason);
    const peer: PeerDescription = describePeer(about.certificate);
    const { detail, identity } = about;
    if (this.#logBuckets.take(networkOf(address), now()) === 0) {
      log.warn(
        { reason, detail, address, ...peer, ...(identity === undefined ? {} : { identity: formatIdentity(identity) }) },
        'connection refused',
      );
    }
    onEvent({
      type: 'connect_failed',
      at: now(),
      address,
      reason,
      ...peer,
      ...(detail === undefined ? {} : { detail }),
      ...(identity === undefined ? {} : { identity }),
    });
  }
}

/** A connection with a good certificate that is not a session yet. */
class Arrival implements WireOwner {
  readonly wire: MqttWire;
  readonly peer: Peer;
  readonly address: string;
  /** Its CONNECT packet; undefined when none will come. */
  readonly connect: Promise<ConnectFields | undefined>;
  identity: Identity | undefined;
  hasTakenOver = false;
  hasProven = false;
  readonly #gate: ConnectionGate;
  readonly #half: HalfOpen | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #gotConnect: (connect: ConnectFields | undefined) => void = () => {};
  #hasLeft = false;

  constructor(
    gate: ConnectionGate,
    socket: TLSSocket,
    peer: Peer,
    address: string,
    half: HalfOpen | undefined,
    limits: BrokerLimits,
  ) {
    this.#gate = gate;
    this.peer = peer;
    this.address = address;
    this.#half = half;
    this.connect = new Promise((resolve) => {
      this.#gotConnect = resolve;
    });
    const timedOut = () => this.refuse('connect_timeout');
    if (half !== undefined) half.onTimeout(timedOut);
    else this.#timer = setTimeout(timedOut, limits.connectTimeout);
    this.wire = new MqttWire(socket, limits, this);
  }

  refuse(reason: ConnectFailure, detail?: string): void {
    if (this.#hasLeft) return;
    this.leave();
    const { certificate } = this.peer;
    this.#gate.report(reason, this.address, { detail, certificate, identity: this.identity });
    this.wire.end(UNANSWERED.has(reason) ? undefined : connack(CONNACK_OF[reason] ?? CONNACK.notAuthorized));
  }

  /** It is no longer on its way: refused, gone, or a session. */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    this.#half?.settle();
    clearTimeout(this.#timer);
    this.#gate.forget(this);
    this.#gotConnect(undefined);
  }

  connectArrived(connect: ConnectFields): void {
    this.#gotConnect(connect);
  }

  violated(violation: Violation): void {
    if (violation.connack === CONNACK.version) this.refuse('protocol_version', violation.says);
    else if (violation.connack === CONNACK.identifier) this.refuse('client_id_missing', violation.says);
    else this.refuse('protocol_violation', `${violation.clause}: ${violation.says}`);
  }

  packetArrived(): boolean {
    return !this.#hasLeft;
  }

  failed(error: unknown): void {
    this.#gate.fail(error, this.address);
    this.refuse('registry_failed');
  }

  overflowed(): void {
    this.refuse('protocol_violation', 'sent without reading');
  }

  socketClosed(): void {
    this.#half?.left();
    this.leave();
  }

  engineFailed(): void {}

  engineFinished(): void {}
}

function refusalOf(
  connect: ConnectFields,
  rights: Rights,
): { readonly reason: ConnectFailure; readonly detail?: string } | undefined {
  const mayConnect = rights.mayConnect(connect.clientId);
  if (!mayConnect.allowed) return { reason: 'client_id_not_allowed', detail: mayConnect.reason };
  const { will } = connect;
  if (will === undefined) return undefined;
  const mayPublish = rights.mayPublish(will.topic);
  if (!mayPublish.allowed) return { reason: 'will_not_allowed', detail: mayPublish.reason };
  const mayRetain = will.retain ? rights.mayRetain(will.topic) : mayPublish;
  return mayRetain.allowed ? undefined : { reason: 'will_not_allowed', detail: 'retain' };
}

function connack(code: number): Buffer {
  return Buffer.from([0x20, 0x02, 0x00, code]);
}

/** Sends the answer and closes; what the client still sends is thrown away, so that the answer is not lost by a reset. */
function endSocket(socket: TLSSocket, answer: Buffer): void {
  socket.on('error', () => {});
  socket.resume();
  socket.end(answer);
  setTimeout(() => socket.destroy(), LINGER).unref();
}
