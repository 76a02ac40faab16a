/** Counters of the broker. `server/metric-definitions.ts` exports them as metrics. */

import type { ConnectFailure, DisconnectReason } from './events.ts';

export class BrokerCounters {
  connected = 0;
  messagesReceived = 0;
  messagesAccepted = 0;
  messagesForwarded = 0;
  /** Messages not delivered because the reader was too far behind. */
  messagesDropped = 0;
  /** Messages not delivered because their Message Expiry Interval had passed. */
  messagesExpired = 0;
  /** Messages not delivered because they exceed the client's Maximum Packet Size. */
  messagesTooLarge = 0;
  publishDenied = 0;
  subscribeDenied = 0;
  receiveDenied = 0;
  takeovers = 0;
  clonesSuspected = 0;
  readonly #disconnected = new Map<DisconnectReason, number>();
  readonly #refused = new Map<ConnectFailure, number>();

  countDisconnect(reason: DisconnectReason): void {
    this.#disconnected.set(reason, (this.#disconnected.get(reason) ?? 0) + 1);
  }

  countRefusal(reason: ConnectFailure): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
  }

  /** `connected`, `messages_accepted`, ..., `disconnected.<reason>`, `refused.<reason>`. */
  snapshot(): Record<string, number> {
    const counts: Record<string, number> = {
      connected: this.connected,
      messages_received: this.messagesReceived,
      messages_accepted: this.messagesAccepted,
      messages_forwarded: this.messagesForwarded,
      messages_dropped: this.messagesDropped,
      messages_expired: this.messagesExpired,
      messages_too_large: this.messagesTooLarge,
      publish_denied: this.publishDenied,
      subscribe_denied: this.subscribeDenied,
      receive_denied: this.receiveDenied,
      takeovers: this.takeovers,
      clones_suspected: this.clonesSuspected,
    };
    for (const [reason, count] of this.#disconnected) counts[`disconnected.${reason}`] = count;
    for (const [reason, count] of this.#refused) counts[`refused.${reason}`] = count;
    return counts;
  }
}
