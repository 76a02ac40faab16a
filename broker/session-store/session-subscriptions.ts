/** Subscriptions of persistent sessions, by client, and the tree of the filters for which messages are queued. */

import { isShared } from '@rollcall/protocol';
import type { Qos } from '../mqtt/packets.ts';
import { FilterTree } from './filter-tree.ts';
import type { RecordChange } from './session-changes.ts';
import type { SubscriptionRow } from './session-rows.ts';

export interface StoredSubscription {
  /** As sent; a shared subscription has `$share/GROUP/` in front. */
  readonly filter: string;
  readonly clientId: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  readonly retainHandling: 0 | 1 | 2;
  readonly subscriptionIdentifier: number | undefined;
}

const NONE: readonly StoredSubscription[] = [];

export class SessionSubscriptions {
  readonly #change: RecordChange;
  /** Arrays that are replaced and not changed: a client has few subscriptions. */
  readonly #byClient = new Map<string, readonly StoredSubscription[]>();
  /** Those of QoS 1 and 2 that are not shared. */
  readonly filters = new FilterTree<StoredSubscription>(({ clientId }) => clientId);

  constructor(change: RecordChange) {
    this.#change = change;
  }

  get clients(): number {
    return this.#byClient.size;
  }

  of(clientId: string): readonly StoredSubscription[] {
    return this.#byClient.get(clientId) ?? NONE;
  }

  /** A subscription to the same filter is replaced. */
  put(clientId: string, subscriptions: readonly StoredSubscription[]): void {
    for (const subscription of subscriptions) {
      const known = this.of(clientId).find(({ filter }) => filter === subscription.filter);
      if (known !== undefined && isSame(known, subscription)) continue;
      this.#add(clientId, subscription);
      const { filter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier = null } = subscription;
      const options = [noLocal ? 1 : 0, retainAsPublished ? 1 : 0, retainHandling, subscriptionIdentifier];
      this.#change('putSubscription', [clientId, filter, qos, ...options], clientId.length + filter.length);
    }
  }

  remove(clientId: string, filters: readonly string[]): void {
    const known = this.of(clientId);
    const left = known.filter(({ filter }) => !filters.includes(filter));
    if (left.length === known.length) return;
    for (const { filter } of known) {
      if (!filters.includes(filter)) continue;
      this.filters.removeStored(filter, clientId);
      this.#change('dropSubscription', [clientId, filter], clientId.length + filter.length);
    }
    if (left.length === 0) this.#byClient.delete(clientId);
    else this.#byClient.set(clientId, left);
  }

  clear(clientId: string): void {
    const known = this.#byClient.get(clientId);
    if (known === undefined) return;
    this.#byClient.delete(clientId);
    for (const { filter } of known) this.filters.removeStored(filter, clientId);
    this.#change('dropSubscriptions', [clientId], clientId.length);
  }

  load(rows: readonly SubscriptionRow[]): void {
    for (const row of rows) {
      this.#add(row.client_id, {
        filter: row.filter,
        clientId: row.client_id,
        qos: row.qos,
        noLocal: row.no_local === 1,
        retainAsPublished: row.retain_as_published === 1,
        retainHandling: row.retain_handling,
        subscriptionIdentifier: row.subscription_identifier ?? undefined,
      });
    }
  }

  #add(clientId: string, subscription: StoredSubscription): void {
    const { filter, qos } = subscription;
    const others = this.of(clientId).filter((one) => one.filter !== filter);
    this.#byClient.set(clientId, [...others, subscription]);
    if (isShared(filter)) return;
    if (qos > 0) this.filters.addStored(filter, subscription);
    else this.filters.removeStored(filter, clientId);
  }
}

function isSame(a: StoredSubscription, b: StoredSubscription): boolean {
  return (
    a.qos === b.qos &&
    a.noLocal === b.noLocal &&
    a.retainAsPublished === b.retainAsPublished &&
    a.retainHandling === b.retainHandling &&
    a.subscriptionIdentifier === b.subscriptionIdentifier
  );
}
