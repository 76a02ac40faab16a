/** The subscriptions of one connected session, and what they grant for a topic. */

import { filterMatches, parseShare } from '@rollcall/protocol';
import type { Qos, RequestedSubscription } from './packets.ts';

export interface Subscription extends RequestedSubscription {
  readonly subscriptionIdentifier: number | undefined;
  /** FILTER of `$share/GROUP/FILTER`; undefined for a subscription that is not shared. */
  readonly sharedFilter: string | undefined;
}

/** How a session receives one message. */
export interface Grant {
  /** The highest QoS of the matching subscriptions [MQTT-3.3.4-2]. */
  readonly qos: Qos;
  /** A matching subscription has Retain As Published. */
  readonly retainAsPublished: boolean;
  /** Of all matching subscriptions [MQTT-3.3.4-4]; undefined for none. */
  readonly subscriptionIdentifiers: readonly number[] | undefined;
}

const DOLLAR = 0x24;

/** Without any option: what MQTT 3.1.1 and most clients of MQTT 5 subscribe with. */
const PLAIN: readonly Grant[] = ([0, 1, 2] as const).map((qos) => ({
  qos,
  retainAsPublished: false,
  subscriptionIdentifiers: undefined,
}));

export class SessionSubscriptions {
  readonly #byFilter = new Map<string, Subscription>();
  /** What each subscription grants; undefined when they differ, and topics have to be matched. */
  #same: Grant | undefined;

  get size(): number {
    return this.#byFilter.size;
  }

  has(filter: string): boolean {
    return this.#byFilter.has(filter);
  }

  /** Whether a subscription was neither replaced nor removed since. */
  isCurrent(subscription: Subscription): boolean {
    return this.#byFilter.get(subscription.filter) === subscription;
  }

  all(): Iterable<Subscription> {
    return this.#byFilter.values();
  }

  /** Replaces an earlier subscription to the same filter [MQTT-3.8.4-3]. */
  set(requested: RequestedSubscription, subscriptionIdentifier: number | undefined): Subscription {
    const sharedFilter = parseShare(requested.filter)?.filter;
    const subscription = { ...requested, subscriptionIdentifier, sharedFilter };
    this.#byFilter.set(requested.filter, subscription);
    this.#compare();
    return subscription;
  }

  delete(filter: string): Subscription | undefined {
    const known = this.#byFilter.get(filter);
    if (known === undefined) return undefined;
    this.#byFilter.delete(filter);
    this.#compare();
    return known;
  }

  /**
   * What the subscriptions that are not shared grant for a message; undefined: nothing. At least one of them is assumed to match if all
   * have the same options. `isOwn`: the session published the message itself [MQTT-3.8.3-3].
   */
  grantFor(topic: string, isOwn: boolean): Grant | undefined {
    // A filter that begins with a wildcard does not match a topic that begins with $ [MQTT-4.7.2-1].
    return this.#same !== undefined && topic.charCodeAt(0) !== DOLLAR ? this.#same : this.#match(topic, isOwn);
  }

  #match(topic: string, isOwn: boolean): Grant | undefined {
    let qos: Qos | undefined;
    let retainAsPublished = false;
    let identifiers: number[] | undefined;
    for (const one of this.#byFilter.values()) {
      if (one.sharedFilter !== undefined || (isOwn && one.noLocal) || !filterMatches(one.filter, topic)) continue;
      if (qos === undefined || one.qos > qos) qos = one.qos;
      retainAsPublished ||= one.retainAsPublished;
      if (one.subscriptionIdentifier === undefined) continue;
      identifiers ??= [];
      identifiers.push(one.subscriptionIdentifier);
    }
    return qos === undefined ? undefined : { qos, retainAsPublished, subscriptionIdentifiers: identifiers };
  }

  #compare(): void {
    this.#same = undefined;
    let common: Qos | undefined;
    for (const { qos, noLocal, retainAsPublished, subscriptionIdentifier, sharedFilter } of this.#byFilter.values()) {
      const isPlain = !noLocal && !retainAsPublished && subscriptionIdentifier === undefined;
      if (!isPlain || sharedFilter !== undefined || (common !== undefined && common !== qos)) return;
      common = qos;
    }
    if (common !== undefined) this.#same = PLAIN[common];
  }
}
