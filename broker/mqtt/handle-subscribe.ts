/**
 * SUBSCRIBE (MQTT 3.1.1 and 5, section 3.8): each filter is decided by the policy and the limit of subscriptions, stored for a persistent
 * session, and answered by SUBACK; retained messages follow as Retain Handling demands [MQTT-3.3.1-9, MQTT-3.3.1-10].
 */

import { ReasonCode } from '@rollcall/protocol';
import type { PolicyVerb } from '../access/acl.ts';
import type { BrokerCounters } from '../broker-counters.ts';
import type { BrokerLimits } from '../broker-limits.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { Session } from '../sessions/session.ts';
import { encodeSuback } from './codec/packet-encoder.ts';
import type { RequestedSubscription, SubscribePacket } from './packets.ts';
import type { RetainedDelivery } from './retained-delivery.ts';
import type { Subscription } from './session-subscriptions.ts';

export interface SubscribeHandlerOptions {
  readonly limits: BrokerLimits;
  readonly counters: BrokerCounters;
  readonly router: MessageRouter;
  readonly retained: RetainedDelivery;
  readonly accessDenied: (session: Session, verb: PolicyVerb, topic: string, why: string) => void;
}

export class SubscribeHandler {
  readonly #options: SubscribeHandlerOptions;

  constructor(options: SubscribeHandlerOptions) {
    this.#options = options;
  }

  handle(session: Session, { packetId, subscriptions, subscriptionIdentifier }: SubscribePacket): void {
    const { retained } = this.#options;
    const codes: number[] = [];
    const granted: Subscription[] = [];
    const withRetained: Subscription[] = [];
    for (const requested of subscriptions) {
      const refusal = this.#refusalOf(session, requested.filter);
      if (session.isEnded) return;
      codes.push(refusal ?? requested.qos);
      if (refusal !== undefined) continue;
      const isNew = !session.subscriptions.has(requested.filter);
      const subscription = this.#grant(session, requested, subscriptionIdentifier);
      granted.push(subscription);
      if (sendsRetained(subscription, isNew)) withRetained.push(subscription);
    }
    const answer = () => {
      session.connection.send(encodeSuback(session.connectPacket.version, packetId, codes));
      for (const subscription of withRetained) retained.send(session, subscription);
    };
    const { clientId } = session.facts;
    const stored =
      granted.length === 0
        ? undefined
        : session.record.subscribe(granted.map(({ sharedFilter: _parsed, ...one }) => ({ ...one, clientId })));
    if (stored === undefined) session.acknowledgements.afterEarlier(answer);
    else session.acknowledgements.afterStored(stored, answer);
  }

  #refusalOf(session: Session, filter: string): ReasonCode | undefined {
    const { counters, limits, accessDenied } = this.#options;
    const decision = session.rights.maySubscribe(filter);
    if (!decision.allowed) {
      counters.subscribeDenied += 1;
      accessDenied(session, 'subscribe', filter, decision.reason);
      return ReasonCode.notAuthorized;
    }
    if (session.subscriptions.has(filter) || session.subscriptions.size < limits.subscriptions) return undefined;
    if (!session.isMqtt5) session.end('limit_exceeded');
    return ReasonCode.quotaExceeded;
  }

  /** Replaces an earlier subscription to the same filter, without a gap [MQTT-3.8.4-3]. */
  #grant(session: Session, requested: RequestedSubscription, identifier: number | undefined): Subscription {
    const { router } = this.#options;
    const isKnown = session.subscriptions.has(requested.filter);
    const subscription = session.subscriptions.set(requested, identifier);
    if (!isKnown) router.subscribe(session, subscription);
    return subscription;
  }
}

function sendsRetained({ retainHandling, sharedFilter }: Subscription, isNew: boolean): boolean {
  return sharedFilter === undefined && (retainHandling === 0 || (retainHandling === 1 && isNew));
}
