/** The record of a session whose subscriptions other nodes have to know before they are acknowledged. */

import { isShared } from '@rollcall/protocol';
import type { Subject } from '../access/acl.ts';
import type { IncomingRecord, OwnDelivery, ReleasedSession, SessionRecord } from '../keeper/sessions.ts';
import type { Message } from '../mqtt/message.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { OutgoingQueue } from '../session-store/outgoing-queue.ts';
import type { StoredSubscription } from '../session-store/session-subscriptions.ts';
import type { ClusterRoutes } from './cluster-routes.ts';

export interface ClusterRecordOptions {
  readonly routes: Pick<ClusterRoutes, 'published'>;
  readonly publishShares: () => Promise<void>;
  /** The connection has been released. */
  readonly left: () => void;
}

export class ClusterRecord implements SessionRecord {
  readonly #record: SessionRecord;
  readonly #options: ClusterRecordOptions;

  constructor(record: SessionRecord, options: ClusterRecordOptions) {
    this.#record = record;
    this.#options = options;
  }

  get queue(): OutgoingQueue {
    return this.#record.queue;
  }

  get incoming(): IncomingRecord {
    return this.#record.incoming;
  }

  async subscribe(granted: readonly StoredSubscription[]): Promise<void> {
    const { routes, publishShares } = this.#options;
    const stored = this.#record.subscribe(granted);
    const shares = granted.some(({ filter }) => isShared(filter)) ? publishShares() : undefined;
    await Promise.all([stored, routes.published(), shares]);
  }

  unsubscribe(filters: readonly string[]): Promise<void> | undefined {
    const removed = this.#record.unsubscribe(filters);
    if (filters.some(isShared)) this.#options.publishShares().catch(ignore);
    return removed;
  }

  enqueue(message: Message, delivery: OwnDelivery): void {
    this.#record.enqueue(message, delivery);
  }

  durable(): Promise<void> {
    return this.#record.durable();
  }

  storeWill(will: WillMessage, subject: Subject): Promise<void> {
    return this.#record.storeWill(will, subject);
  }

  async release(end: ReleasedSession): Promise<void> {
    await this.#record.release(end);
    this.#options.left();
    this.#options.publishShares().catch(ignore);
  }
}

/** The changes stay in the commits, and are stored when the database is there again. */
function ignore(): void {}
