/**
 * The decision about every connection, full and resumed handshakes alike, in one order: certificate, registry, policy,
 * client id, will, takeover. Nothing of aedes exists for a connection before it has passed.
 */

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { formatIdentity, identityUri, parseIdentityUri } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { CertificateStatus } from '../../registry/index.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { ConnectFailure } from '../events.ts';
import type { ConnectionLimiter } from '../listener/connection-limiter.ts';
import { PendingConnection } from '../listener/pending-connection.ts';
import type { MqttConnection } from '../mqtt/connection.ts';
import type { ConnectFields } from '../mqtt/packet-validation.ts';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import type { Session } from '../sessions/session.ts';
import type { Rights, Subject } from './acl.ts';
import type { Takeover } from './clone-detector.ts';
import { type ConnectionRefusals, refuseSocket } from './connection-refusals.ts';
import { PeerCertificateVerifier } from './peer-certificate.ts';
import type { PolicyResolver } from './policy-resolver.ts';

/** What the broker needs of the registry here. */
export interface CertificateStatusDirectory {
  certificateStatus(serial: string): Promise<CertificateStatus>;
  /** A renewed certificate passed every check for the first time: it supersedes the others of its device. */
  recordFirstUse(serial: string): Promise<boolean>;
}

/** A connection that passed every check. */
export interface AuthorizedConnection {
  readonly connection: MqttConnection;
  readonly subject: Subject;
  readonly rights: Rights;
  readonly connect: ConnectFields;
  readonly address: string;
  readonly serial: string;
  readonly notAfter: number;
}

export interface ConnectionAuthorizerOptions {
  readonly limits: BrokerLimits;
  readonly trustDomain: string;
  readonly directory: CertificateStatusDirectory;
  readonly policies: PolicyResolver;
  readonly sessions: LiveSessions;
  readonly limiter: ConnectionLimiter;
  readonly counters: BrokerCounters;
  readonly log: Logger;
  readonly now: () => number;
  readonly refusals: ConnectionRefusals;
  /** A live session is about to be displaced by another of the same client id. */
  readonly tookOver: (takeover: Takeover) => void;
  /** Called in the same turn in which the last check passed. */
  readonly authorized: (admitted: AuthorizedConnection) => void;
}

export class ConnectionAuthorizer {
  readonly #options: ConnectionAuthorizerOptions;
  readonly #pendingConnections = new Set<PendingConnection>();
  #peers: PeerCertificateVerifier;
  #changes = 0;
  #isClosed = false;

  constructor(options: ConnectionAuthorizerOptions, issuers: readonly X509Certificate[]) {
    this.#options = options;
    this.#peers = new PeerCertificateVerifier(issuers);
  }

  /** Whoever is on the way in is judged again: it may have come under a CA that counts no more. */
  setIssuers(issuers: readonly X509Certificate[]): void {
    this.#peers = new PeerCertificateVerifier(issuers);
    for (const pending of this.#pendingConnections) {
      const judged = this.#peers.verify(pending.connection.socket);
      if ('refusal' in judged) pending.refuse(judged.refusal.reason, judged.refusal.detail);
    }
  }

  /** Whoever was found good before this moment is asked for again before being let in. */
  statusChanged(): void {
    this.#changes += 1;
  }

  close(): void {
    this.#isClosed = true;
    for (const pending of this.#pendingConnections) pending.refuse('server_shutdown');
  }

  /** A handshake is finished. */
  handshakeFinished(socket: TLSSocket): void {
    try {
      this.#judge(socket);
    } catch (error) {
      this.fail(error, socket.remoteAddress ?? ''); // no certificate ends the process
      socket.destroy();
    }
  }

  readonly report: ConnectionRefusals['report'] = (reason, address, about) =>
    this.#options.refusals.report(reason, address, about);

  fail(error: unknown, address: string): void {
    this.#options.refusals.authorizationFailed(error, address);
  }

  #judge(socket: TLSSocket): void {
    const slot = this.#options.limiter.find(socket);
    slot?.handshakeFinished();
    const address = slot?.address ?? socket.remoteAddress ?? '';
    const judged = this.#peers.verify(socket);
    if ('refusal' in judged) {
      const { reason, detail, certificate } = judged.refusal;
      slot?.release();
      this.report(reason, address, { detail, certificate });
      refuseSocket(socket);
      return;
    }
    const pending = new PendingConnection(this, socket, judged.peer, address, slot, this.#options.limits);
    this.#pendingConnections.add(pending);
    this.#admit(pending).catch((error: unknown) => pending.failed(error));
  }

  async #admit(pending: PendingConnection): Promise<void> {
    const { policies, sessions } = this.#options;
    const { peer } = pending;
    for (;;) {
      const changes = this.#changes;
      const policyVersion = policies.version;

      const status = await this.#certificateStatusOf(peer.serial);
      if (status === undefined) return pending.refuse('registry_failed');
      if (status.state === 'unknown') return pending.refuse('serial_unknown');
      pending.identity = status.holder;
      if (status.state === 'revoked') {
        return pending.refuse(status.reason === 'superseded' ? 'superseded' : 'revoked');
      }
      if (status.state === 'superseded') return pending.refuse('superseded');
      if (status.state !== 'good' && status.state !== 'quarantined') return pending.refuse('suspended');
      const uri = identityUri(this.#options.trustDomain, status.holder);
      // A name that could stand for a topic filter is refused even if our own authority signed it.
      const isNamed = parseIdentityUri(this.#options.trustDomain, uri) !== undefined;
      if (!isNamed || peer.san !== `URI:${uri}`) {
        return pending.refuse('identity_mismatch', formatIdentity(status.holder));
      }
      const { notAfter } = status;
      if (notAfter <= this.#options.now()) return pending.refuse('certificate_expired');
      const subject: Subject = {
        identity: status.holder,
        group: status.group,
        labels: status.labels,
        ...(status.state === 'quarantined' && { isQuarantined: true }),
      };
      const rights = await this.#rightsOf(subject);
      if (rights === undefined) return pending.refuse('policy_failed');

      const connect = await pending.connect;
      if (connect === undefined) return; // it went away, or broke the protocol
      const faults = refusalOf(connect, rights);
      if (faults !== undefined) return pending.refuse(faults.reason, faults.detail);

      if (!(await this.#takeOverSession(pending, connect.clientId))) return;
      if (pending.connection.isGone) return pending.leave();
      if (this.#isClosed) return pending.refuse('server_shutdown');
      const { sessionsPerIdentity } = this.#options.limits;
      if (sessionsPerIdentity > 0 && sessions.count(subject.identity) >= sessionsPerIdentity) {
        return pending.refuse('too_many_sessions');
      }
      // What was read before the waiting has to be true now.
      if (changes !== this.#changes || policyVersion !== policies.version) continue;
      if (sessions.find(connect.clientId) !== undefined) continue;
      if (status.isUnused === true && !pending.isRecordedAsUsed) {
        // Last of all: from here on the certificate before it is worth nothing, so nothing may refuse this one any more.
        pending.isRecordedAsUsed = true;
        await this.#prove(peer.serial);
        continue;
      }

      pending.leave();
      const { connection, address } = pending;
      this.#options.authorized({ connection, subject, rights, connect, address, serial: peer.serial, notAfter });
      return;
    }
  }

  /** Undefined when the registry cannot answer: then nobody gets in. */
  async #certificateStatusOf(serial: string): Promise<CertificateStatus | undefined> {
    try {
      return await this.#options.directory.certificateStatus(serial);
    } catch (error) {
      this.#options.log.error({ err: error, serial }, 'registry did not answer');
      return undefined;
    }
  }

  /** Who can't be recorded is let in: a full disk must not lock out what it can't supersede either. */
  async #prove(serial: string): Promise<void> {
    try {
      // Whoever comes with what is superseded now, and was found good before this moment, is asked for again.
      if (await this.#options.directory.recordFirstUse(serial)) this.statusChanged();
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
  async #takeOverSession(pending: PendingConnection, clientId: string): Promise<boolean> {
    const { sessions, counters, now } = this.#options;
    const previous = sessions.find(clientId);
    if (previous === undefined) return true;
    if (!previous.isEnded) {
      if (!pending.hasTakenOver) this.#reportTakeover(pending, previous);
      if (!pending.hasTakenOver && !pending.isRecordedAsUsed && !sessions.mayTakeOver(clientId, now())) {
        pending.refuse('takeover_limited');
        return false;
      }
      pending.hasTakenOver = true;
      counters.takeovers += 1;
      previous.end('session_taken_over');
    }
    await previous.whenFinished();
    return true;
  }

  /** Also of those that are about to be refused: who insists so often is more suspicious, not less. */
  #reportTakeover(pending: PendingConnection, { facts }: Session): void {
    this.#options.tookOver({
      identity: facts.subject.identity,
      clientId: facts.clientId,
      from: facts.address,
      fromSerial: facts.serial,
      to: pending.address,
      toSerial: pending.peer.serial,
    });
  }

  forget(pending: PendingConnection): void {
    this.#pendingConnections.delete(pending);
  }
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
