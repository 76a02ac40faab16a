/** Tells the keeper which members of shared subscriptions on this node do not read or acknowledge as fast as messages come. */

import type { LiveSessions } from '../sessions/live-sessions.ts';
import type { ChannelToKeeper } from './node-calls.ts';
import type { RemoteRecord } from './remote-record.ts';

export class LaggingMembers {
  readonly #channel: ChannelToKeeper;
  readonly #live: Pick<LiveSessions, 'find'>;
  readonly #behind = new WeakSet<RemoteRecord>();

  constructor(channel: ChannelToKeeper, live: Pick<LiveSessions, 'find'>) {
    this.#channel = channel;
    this.#live = live;
  }

  /** To be called when it may have changed. */
  update(record: RemoteRecord): void {
    const { joinsShares, clientId, claim } = record;
    const isBehind = joinsShares && this.#live.find(clientId)?.isBehind === true;
    if (isBehind === this.#behind.has(record)) return;
    if (isBehind) this.#behind.add(record);
    else this.#behind.delete(record);
    this.#channel.tell('behind', { claim, isBehind });
  }
}
