/**
 * Decides on every connection, in this order: certificate, registry, policy, client id, will, takeover. No packet after CONNECT is
 * processed before it passed. A change of a status or policy while a decision is pending restarts that decision.
 */

import { randomBytes, type X509Certificate } from 'node:crypto';
import { type Identity, identityName } from '@rollcall/protocol';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import { waitAtMost } from '../deadline.ts';
import type { ConnectFailure } from '../events.ts';
import type { ClaimRules } from '../keeper/sessions.ts';
import {
  type ConnectionParts,
  PendingConnection,
  type PendingConnectionOwner,
} from '../listener/pending-connection.ts';
import type { MqttConnection } from '../mqtt/connection.ts';
import type { ConnectPacket } from '../mqtt/packets.ts';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import type { Session } from '../sessions/session.ts';
import type { Rights, Subject } from './acl.ts';
import type { Takeover } from './clone-detector.ts';
import type { ConnectionRefusals } from './connection-refusals.ts';
import { IdentityAuthorizer, type IdentityAuthorizerOptions } from './identity-authorizer.ts';
import { type PeerCertificate, PeerCertificateVerifier } from './peer-certificate.ts';

/** A connection that passed every check. */
export interface AuthorizedConnection {
  readonly connection: MqttConnection;
  readonly subject: Subject;
  readonly rights: Rights;
  readonly connectPacket: ConnectPacket;
  /** That of CONNECT, or one that the server assigned. */
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
  readonly notAfter: number;
  readonly claimRules: ClaimRules;
  /** The claim of the session was refused. */
  readonly reportRefusal: (reason: ConnectFailure) => void;
}

export interface ConnectionAuthorizerOptions extends IdentityAuthorizerOptions {
  readonly limits: BrokerLimits;
  readonly sessions: LiveSessions;
  readonly counters: BrokerCounters;
  readonly refusals: ConnectionRefusals;
  /** A live session is about to be displaced by another of the same client id. */
  readonly tookOver: (takeover: Takeover) => void;
  /**
   * Ends the session of a client id on another node. Resolves with the number of sessions that the identity still has on other nodes;
   * undefined: the limit of takeovers is reached. `isCounted`: for the first time. The claim does the same, so this is asked only where
   * the claim may refuse nothing any more.
   */
  readonly elsewhere?:
    | ((takeover: Omit<Takeover, 'from' | 'fromSerial'>, isCounted: boolean) => Promise<number | undefined>)
    | undefined;
  /** Called in the same turn in which the last check passed. */
  readonly authorized: (connection: AuthorizedConnection) => void;
}

/** How long a session whose client is gone may take to process what it has received, in ms, before another takes it over. */
const PROCESSING_MS = 1_000;

export class ConnectionAuthorizer implements PendingConnectionOwner {
  readonly #options: ConnectionAuthorizerOptions;
  readonly #identities: IdentityAuthorizer;
  readonly #pending = new Set<PendingConnection>();
  #verifier: PeerCertificateVerifier;
  /** Grows with every change of a certificate or device. */
  #statusVersion = 0;
  #isClosed = false;

  constructor(options: ConnectionAuthorizerOptions, issuers: readonly X509Certificate[]) {
    this.#options = options;
    this.#identities = new IdentityAuthorizer(options);
    this.#verifier = new PeerCertificateVerifier(issuers);
  }

  /** Also verifies pending connections again: their issuing CA may not be accepted any more. */
  setIssuers(issuers: readonly X509Certificate[]): void {
    this.#verifier = new PeerCertificateVerifier(issuers);
    for (const pending of this.#pending) {
      if (pending.peer === undefined) continue;
      const verified = this.#verifier.verify(pending.tls);
      if ('refusal' in verified) pending.refuse(verified.refusal.reason, verified.refusal.detail);
    }
  }

  /** Restarts the decisions that are pending: they rest on the status before the change. */
  statusChanged(): void {
    this.#statusVersion += 1;
  }

  close(): void {
    this.#isClosed = true;
    for (const pending of this.#pending) pending.refuse('server_shutdown');
  }

  /** The TLS handshake of a connection is finished, and the upgrade to WebSocket where there is one. */
  handshakeFinished(parts: ConnectionParts): void {
    try {
      this.#verifyCertificate(parts);
    } catch (error) {
      this.authorizationFailed(error, parts.slot.address); // No certificate may end the process.
      parts.tls.destroy();
    }
  }

  readonly report: ConnectionRefusals['report'] = (reason, address, about) =>
    this.#options.refusals.report(reason, address, about);

  authorizationFailed(error: unknown, address: string): void {
    this.#options.refusals.authorizationFailed(error, address);
  }

  remove(pending: PendingConnection): void {
    this.#pending.delete(pending);
  }

  #verifyCertificate(parts: ConnectionParts): void {
    parts.slot.handshakeFinished();
    const verified = this.#verifier.verify(parts.tls);
    if ('refusal' in verified) {
      const { reason, detail, certificate } = verified.refusal;
      const refused = new PendingConnection(this, parts, undefined, this.#options.limits);
      this.#pending.add(refused);
      refused.refuse(reason, detail, certificate);
      return;
    }
    const pending = new PendingConnection(this, parts, verified.peer, this.#options.limits);
    this.#pending.add(pending);
    this.#authorize(pending, verified.peer).catch((error: unknown) => pending.failed(error));
  }

  async #authorize(pending: PendingConnection, peer: PeerCertificate): Promise<void> {
    const { policies, authorized } = this.#options;
    const { serial } = peer;
    let assigned: string | undefined;
    for (;;) {
      const statusVersion = this.#statusVersion;
      const policyVersion = policies.version;
      const authorization = await this.#identities.authorize(pending, peer);
      if (authorization === undefined) return;
      const { subject, rights, notAfter, isUnused } = authorization;
      const connectPacket = await pending.connectPacket;
      if (connectPacket === undefined) return; // The client closed the connection, or violated the protocol.
      if (connectPacket.clientId === '') assigned ??= assignedClientId(subject.identity);
      const clientId = assigned ?? connectPacket.clientId;
      const refusal = refusalOf(connectPacket, clientId, rights);
      if (refusal !== undefined) return pending.refuse(refusal.reason, refusal.detail);
      if (!(await this.#takeOverSession(pending, peer, clientId))) return;
      const isFirstUse = isUnused && !pending.isRecordedAsUsed;
      if (this.#isClosedByClient(pending)) return;
      const elsewhere = isFirstUse ? await this.#takeOverElsewhere(pending, peer, subject, clientId) : 0;
      if (elsewhere === undefined) return;
      if (!this.#isAdmissible(pending, subject, elsewhere)) return;
      if (statusVersion !== this.#statusVersion || policyVersion !== policies.version) continue;
      if (this.#options.sessions.find(clientId) !== undefined) continue;
      if (isFirstUse) {
        // This is the last step: it supersedes the certificate before this one, so that no check may refuse this one later.
        pending.isRecordedAsUsed = true;
        await this.#recordFirstUse(serial);
        continue;
      }
      pending.release();
      const { connection, address, hasTakenOver, isRecordedAsUsed } = pending;
      const claimRules = { countsTakeover: !hasTakenOver && !isRecordedAsUsed, isLimited: !isRecordedAsUsed };
      const { identity } = subject;
      const reportRefusal = (reason: ConnectFailure) =>
        this.report(reason, address, { certificate: peer.certificate, identity });
      const facts = { clientId, address, serial, notAfter };
      authorized({ connection, subject, rights, connectPacket, ...facts, claimRules, reportRefusal });
      return;
    }
  }

  /** Then it takes no session over. */
  #isClosedByClient(pending: PendingConnection): boolean {
    if (pending.connection.isGone) pending.release();
    return pending.connection.isGone;
  }

  /** `elsewhere`: sessions of the identity on other nodes, as far as they count before the claim. */
  #isAdmissible(pending: PendingConnection, { identity }: Subject, elsewhere: number): boolean {
    const { sessions, limits } = this.#options;
    if (this.#isClosedByClient(pending)) return false;
    if (this.#isClosed) {
      pending.refuse('server_shutdown');
      return false;
    }
    if (limits.sessionsPerIdentity > 0 && sessions.count(identity) + elsewhere >= limits.sessionsPerIdentity) {
      pending.refuse('too_many_sessions');
      return false;
    }
    return true;
  }

  /** Admits the connection if the record fails: the earlier certificate then stays valid as well. */
  async #recordFirstUse(serial: string): Promise<void> {
    try {
      // Pending connections with the certificate that is superseded now are decided again.
      if (await this.#options.directory.recordFirstUse(serial)) this.statusChanged();
    } catch (error) {
      this.#options.log.error({ err: error, serial }, 'first use of a certificate could not be recorded');
    }
  }

  /** Ends the session that has this client id, and waits until it is finished [MQTT-3.1.4-2, MQTT-3.1.4-3]. */
  async #takeOverSession(pending: PendingConnection, peer: PeerCertificate, clientId: string): Promise<boolean> {
    const { sessions, counters, now } = this.#options;
    const previous = sessions.find(clientId);
    if (previous === undefined) return true;
    if (this.#isClosedByClient(pending)) return false;
    if (!previous.isEnded) {
      if (!pending.hasTakenOver) this.#reportTakeover(pending, peer, previous);
      if (!pending.hasTakenOver && !pending.isRecordedAsUsed && !sessions.mayTakeOver(clientId, now())) {
        pending.refuse('takeover_limited');
        return false;
      }
      pending.hasTakenOver = true;
      counters.takeovers += 1;
      previous.end('session_taken_over');
    }
    // The client is gone, and what it sent waits for storage: it was not acknowledged, and will be sent again.
    await waitAtMost(PROCESSING_MS, previous.whenFinished());
    previous.end('session_taken_over');
    await previous.whenFinished();
    return true;
  }

  /** What the claim would do. Resolves with the sessions that are left on other nodes; undefined: the connection is refused. */
  async #takeOverElsewhere(
    pending: PendingConnection,
    { serial }: PeerCertificate,
    { identity }: Subject,
    clientId: string,
  ): Promise<number | undefined> {
    const { elsewhere } = this.#options;
    if (elsewhere === undefined) return 0;
    const takeover = { identity, clientId, to: pending.address, toSerial: serial };
    const left = await elsewhere(takeover, !pending.hasTakenOver);
    if (left === undefined) pending.refuse('takeover_limited');
    return left;
  }

  /** Also reports takeovers that the limit then refuses: so many attempts are evidence of a clone. */
  #reportTakeover(pending: PendingConnection, peer: PeerCertificate, { facts }: Session): void {
    this.#options.tookOver({
      identity: facts.subject.identity,
      clientId: facts.clientId,
      from: facts.address,
      fromSerial: facts.serial,
      to: pending.address,
      toSerial: peer.serial,
    });
  }
}

/** A device has one client id; of a service several processes may connect [MQTT-3.1.3-6, MQTT-3.1.3-7]. */
function assignedClientId(identity: Identity): string {
  const name = identityName(identity);
  return identity.kind === 'device' ? name : `${name}-${randomBytes(8).toString('hex')}`;
}

function refusalOf(
  { will, authenticationMethod }: ConnectPacket,
  clientId: string,
  rights: Rights,
): { readonly reason: ConnectFailure; readonly detail?: string } | undefined {
  if (authenticationMethod !== undefined) return { reason: 'authentication_method' };
  const mayConnect = rights.mayConnect(clientId);
  if (!mayConnect.allowed) return { reason: 'client_id_not_allowed', detail: mayConnect.reason };
  if (will === undefined) return undefined;
  const mayPublish = rights.mayPublish(will.topic);
  if (!mayPublish.allowed) return { reason: 'will_not_allowed', detail: mayPublish.reason };
  const mayRetain = will.retain ? rights.mayRetain(will.topic) : mayPublish;
  return mayRetain.allowed ? undefined : { reason: 'will_not_allowed', detail: 'retain' };
}
