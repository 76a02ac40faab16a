/** Posts the changes that a node makes in its copy of a stored queue to the keeper, which has the queue itself. */

import type { QueueChanges } from '../session-store/message-queue.ts';
import type { QueueEntry } from '../session-store/queue-entry.ts';
import type { ChannelToKeeper } from './node-calls.ts';

export class RemoteQueue implements QueueChanges {
  readonly #claim: number;
  readonly #channel: ChannelToKeeper;
  /** The keeper has removed the entry itself. */
  isKeepersChange = false;

  constructor(claim: number, channel: ChannelToKeeper) {
    this.#claim = claim;
    this.#channel = channel;
  }

  storePacketId({ id: ref, packetId = 0, qos }: QueueEntry): Promise<void> | undefined {
    const change = { claim: this.#claim, ref, packetId };
    // A QoS 2 message is sent only after its packet identifier is on disk [MQTT-4.3.3-1].
    if (qos === 2) return this.#channel.call('packetIdAssigned', change);
    this.#channel.tell('packetIdAssigned', change);
    return undefined;
  }

  release({ id: ref }: QueueEntry): void {
    this.#channel.tell('entryReleased', { claim: this.#claim, ref });
  }

  remove({ id: ref }: QueueEntry): void {
    if (!this.isKeepersChange) this.#channel.tell('entryRemoved', { claim: this.#claim, ref });
  }

  durable(): Promise<void> {
    return this.#channel.call('durable', { claim: this.#claim });
  }
}
