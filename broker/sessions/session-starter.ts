/**
 * CONNECT, once it is authorized (MQTT 3.1.1 and 5, section 3.1): claims the session of the client id, stores the will, subscribes to what
 * is stored, and answers with CONNACK. Also releases the session when the connection has ended.
 */

import { ReasonCode } from '@rollcall/protocol';
import type { AuthorizedConnection } from '../access/connection-authorizer.ts';
import { refusalConnack } from '../access/refusal-explanations.ts';
import type { BrokerContext } from '../broker-context.ts';
import { longestSessionExpiry } from '../broker-limits.ts';
import type { ClaimedSession } from '../keeper/sessions.ts';
import type { MessagePipeline } from '../message-pipeline.ts';
import { encodeConnack } from '../mqtt/codec/packet-encoder.ts';
import { PROPERTY_LIMITS } from '../mqtt/codec/packet-limits.ts';
import { OutgoingMessages, type OutgoingOptions } from '../mqtt/outgoing-messages.ts';
import type { ConnackProperties, ConnectPacket } from '../mqtt/packets.ts';
import type { SessionInputOptions } from '../mqtt/session-input.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { Deafness } from './deafness.ts';
import { Session, type SessionListener } from './session.ts';
import type { SessionState } from './session-state.ts';

export interface SessionStarterOptions {
  readonly context: BrokerContext;
  readonly state: SessionState;
  readonly pipeline: MessagePipeline;
  readonly deafness: Deafness;
}

/** With more queued messages than this a client counts as behind; with fewer where a queue is short. */
const WAITING_MAX = 100;

export class SessionStarter {
  readonly #options: SessionStarterOptions;
  readonly #listener: SessionListener;
  readonly #outgoing: OutgoingOptions;
  readonly #input: SessionInputOptions;

  constructor(options: SessionStarterOptions) {
    const { limits, counters, now } = options.context;
    this.#options = options;
    this.#listener = this.#createListener();
    const { reporter } = options.state;
    this.#input = {
      limits,
      now,
      handlers: options.pipeline.handlers,
      protocolViolated: (session, violation) => reporter.protocolViolated(session, violation),
      failed: (session, error) => reporter.failed(session, error),
    };
    this.#outgoing = {
      limits: { ...limits, waiting: Math.max(1, Math.min(WAITING_MAX, limits.queuedMessages / 2)) },
      counters,
      now,
      storageFailed: (session, error) => session.storageFailed(error),
    };
  }

  start(authorized: AuthorizedConnection): void {
    const { context, state, pipeline } = this.#options;
    const { limits, now } = context;
    const { connection, connectPacket, subject, rights, claimRules, clientId, address, serial, notAfter } = authorized;
    const session = new Session({
      facts: { subject, sequence: 0, clientId, address, serial, connectedAt: now(), notAfter },
      connection,
      connectPacket,
      rights,
      claimRules,
      input: this.#input,
      listener: this.#listener,
    });
    session.sessionExpiryInterval = Math.min(connectPacket.sessionExpiryInterval, longestSessionExpiry(limits));
    state.sessions.add(session);
    this.#options.deafness.added(session);
    connection.setOwner(session.input);
    session.input.startKeepAlive(effectiveKeepAlive(connectPacket, limits.keepalive));
    pipeline.storageShareLimiter.update(session);
    session.accepting = this.#accept(session, authorized)
      .catch((error: unknown) => session.storageFailed(error))
      .finally(() => {
        session.accepting = undefined;
      });
  }

  async #accept(session: Session, { reportRefusal }: AuthorizedConnection): Promise<void> {
    const { pipeline } = this.#options;
    const { owner, subject, rights, connectPacket, sessionExpiryInterval } = session;
    const { clientId } = session.facts;
    const { cleanStart, will } = connectPacket;
    const claim = { clientId, owner, subject, rights, cleanStart, sessionExpiryInterval, claimant: session };
    const claimed = await pipeline.sessions.claim(claim);
    if ('refusal' in claimed) {
      if (session.isEnded) return; // The client is gone.
      reportRefusal(claimed.refusal);
      session.refuse(refusalConnack(claimed.refusal, connectPacket));
      return;
    }
    session.claimed(claimed);
    if (subject.identity.kind === 'device') pipeline.streams?.load?.(subject.identity.id, claimed.streams ?? []);
    if (!session.isEnded) this.#reportConnected(session);
    // A connection is accepted only after its will is stored [MQTT-3.1.2-8].
    if (will !== undefined && !session.isEnded) await claimed.record.storeWill(will, session.subject);
    if (session.isGivenUp) return;
    this.#restoreSubscriptions(session, claimed.subscriptions);
    session.connection.send(this.#connack(session, claimed));
    session.accepted(new OutgoingMessages(session, connectPacket, claimed.record.queue, this.#outgoing));
  }

  #reportConnected(session: Session): void {
    session.isReported = true;
    this.#options.state.reporter.connected(session);
  }

  /** By the rights of now: what is not allowed any more is removed. */
  #restoreSubscriptions(session: Session, stored: readonly StoredSubscription[]): void {
    const { context, state, pipeline } = this.#options;
    const removed: string[] = [];
    for (const { subscriptionIdentifier, clientId: _own, ...requested } of stored) {
      const decision = session.rights.maySubscribe(requested.filter);
      if (decision.allowed && session.subscriptions.size < context.limits.subscriptions) {
        pipeline.router.subscribe(session, session.subscriptions.set(requested, subscriptionIdentifier));
        continue;
      }
      removed.push(requested.filter);
      if (decision.allowed) continue;
      context.counters.subscribeDenied += 1;
      state.reporter.accessDenied(session, 'subscribe', requested.filter, decision.reason);
    }
    if (removed.length > 0) void session.record.unsubscribe(removed);
  }

  #connack({ connectPacket, facts, sessionExpiryInterval }: Session, { isPresent }: ClaimedSession): Buffer {
    const { limits } = this.#options.context;
    const { version, keepAlive, clientId } = connectPacket;
    if (version === 4) return encodeConnack(4, { sessionPresent: isPresent, reasonCode: ReasonCode.success });
    const longest = Math.floor(limits.keepalive / 1000);
    const properties: ConnackProperties = {
      receiveMaximum: limits.inflight,
      maximumPacketSize: limits.packet,
      topicAliasMaximum: PROPERTY_LIMITS.topicAliasMaximum,
      ...(sessionExpiryInterval !== connectPacket.sessionExpiryInterval && { sessionExpiryInterval }),
      ...(clientId === '' && { assignedClientIdentifier: facts.clientId }),
      ...((keepAlive === 0 || keepAlive > longest) && { serverKeepAlive: longest }),
    };
    return encodeConnack(5, { sessionPresent: isPresent, reasonCode: ReasonCode.success, properties });
  }

  #createListener(): SessionListener {
    const { context, state } = this.#options;
    const { reporter } = state;
    return {
      ending: (session, reason) => {
        if (session.isReported) reporter.ended(session, reason);
      },
      finished: (session) =>
        session.accepting === undefined ? this.#release(session) : session.accepting.then(() => this.#release(session)),
      messageStored() {
        context.counters.messagesAccepted += 1;
      },
      storageFailed: (session, error) => reporter.storageFailed(session, error),
    };
  }

  async #release(session: Session): Promise<void> {
    const { state, pipeline } = this.#options;
    const { backpressure, storageShareLimiter, router } = pipeline;
    const { sessionExpiryInterval, suppressesWill, wasAccepted, recentKeys, facts } = session;
    state.sessions.remove(session);
    if (state.sessions.find(facts.clientId) === undefined) pipeline.streams?.release?.(facts.clientId);
    backpressure.sessionEnded(session);
    storageShareLimiter.sessionEnded(session);
    router.removeSession(session);
    if (!session.isClaimed) return; // Its state could not be claimed.
    const publishesWill = wasAccepted && !suppressesWill;
    const isAwaited = session.reason !== 'client_disconnected' && session.reason !== 'connection_lost';
    await session.record.release({ sessionExpiryInterval, publishesWill, recentKeys, isAwaited });
  }
}

/** Milliseconds. A client that asks for none, or for a longer one, gets the longest. */
function effectiveKeepAlive({ keepAlive }: ConnectPacket, longest: number): number {
  return keepAlive === 0 ? longest : Math.min(keepAlive * 1000, longest);
}
