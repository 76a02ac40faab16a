/** The subscriptions of a service and their handlers. A message goes to each handler whose filter matches, one after the other. */

import { filterCovers, filterMatches } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt';
import { ServiceError } from './service-error.ts';

/** What an application subscribed to. */
export interface Subscription {
  /** As it was sent to the broker. */
  readonly filter: string;
  /** Resolves when the broker granted it for the first time; rejects with a ServiceError `subscription_refused` or `closed`. */
  readonly ready: Promise<void>;
  /** Ends it. Its handler is not called any more when this resolves. */
  close(): Promise<void>;
}

export interface SubscriptionTransport {
  subscribe(filter: string): Promise<void>;
  unsubscribe(filter: string): Promise<void>;
}

type Handler = (packet: IPublishPacket) => Promise<void>;

interface Entry {
  readonly filter: string;
  /** Without `$share/NAME/`. */
  readonly matching: string;
  readonly handle: Handler;
  isGranted: boolean;
  readonly granted: () => void;
  readonly refused: (error: ServiceError) => void;
}

const SHARE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

export class Subscriptions {
  readonly #transport: SubscriptionTransport;
  readonly #onError: (error: ServiceError) => void;
  readonly #entries = new Set<Entry>();
  #isConnected = false;

  constructor(transport: SubscriptionTransport, onError: (error: ServiceError) => void) {
    this.#transport = transport;
    this.#onError = onError;
  }

  /** Throws `request_invalid` for a share that cannot be named, or a filter that is both shared and not. */
  add(matching: string, share: string | undefined, handle: Handler): Subscription {
    if (share !== undefined && !SHARE_NAME.test(share))
      throw new ServiceError('request_invalid', { detail: 'expected a share of one to 64 of A-Z a-z 0-9 . _ -' });
    const filter = share === undefined ? matching : `$share/${share}/${matching}`;
    for (const other of this.#entries) {
      const isOtherShare = other.filter !== other.matching || share !== undefined;
      const overlaps = filterCovers(other.matching, matching) || filterCovers(matching, other.matching);
      if (other.filter !== filter && isOtherShare && overlaps)
        throw new ServiceError('request_invalid', {
          detail: `${filter} overlaps ${other.filter}: each would get the messages of both`,
        });
    }
    let granted = () => {};
    let refused = (_: ServiceError) => {};
    const ready = new Promise<void>((resolve, reject) => {
      granted = resolve;
      refused = reject;
    });
    ready.catch(() => {}); // also reported by onError
    const entry: Entry = { filter, matching, handle, isGranted: false, granted, refused };
    this.#entries.add(entry);
    if (this.#isConnected) void this.#send(entry);
    return { filter, ready, close: () => this.#remove(entry) };
  }

  /** After each CONNACK. */
  connected(isResumed: boolean): void {
    this.#isConnected = true;
    for (const entry of this.#entries) if (!isResumed || !entry.isGranted) void this.#send(entry);
  }

  lost(): void {
    this.#isConnected = false;
  }

  /** Resolves when all handlers have ended; an error of one goes to `onError`. False: no filter matches. */
  async dispatch(packet: IPublishPacket): Promise<boolean> {
    const matching = [...this.#entries].filter((entry) => filterMatches(entry.matching, packet.topic));
    for (const { handle } of matching) {
      try {
        await handle(packet);
      } catch (cause) {
        const detail = `${packet.topic}: ${cause instanceof Error ? cause.message : String(cause)}`;
        this.#onError(new ServiceError('handler_failed', { detail, cause }));
      }
    }
    return matching.length > 0;
  }

  close(): void {
    for (const entry of this.#entries) entry.refused(new ServiceError('closed'));
    this.#entries.clear();
  }

  async #send(entry: Entry): Promise<void> {
    try {
      await this.#transport.subscribe(entry.filter);
      entry.isGranted = true;
      entry.granted();
    } catch (thrown) {
      const error = thrown as ServiceError;
      if (error.code !== 'subscription_refused') return; // the next connection subscribes again
      entry.refused(error);
      this.#onError(
        new ServiceError(error.code, {
          detail: `${entry.filter}: ${error.reason}`,
          reason: error.reason,
          reasonCode: error.reasonCode,
        }),
      );
    }
  }

  async #remove(entry: Entry): Promise<void> {
    if (!this.#entries.delete(entry)) return;
    entry.refused(new ServiceError('closed'));
    const isUsed = [...this.#entries].some(({ filter }) => filter === entry.filter);
    if (!isUsed && this.#isConnected) await this.#transport.unsubscribe(entry.filter);
  }
}
