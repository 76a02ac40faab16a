/**
 * The messages of QoS 1 and 2 for one session, in order: unsent, sent and not acknowledged, or released (PUBREL is left). The queue of
 * a session that outlives its connection is stored on disk; the others are in memory. Both have this interface.
 */

import type { Message } from '../mqtt/message.ts';
import type { Qos } from '../mqtt/packets.ts';

export interface QueuedMessage {
  readonly message: Message;
  /** The QoS that it is sent with, 1 or 2: it may have to be sent again, so a later grant does not change it. */
  readonly qos: Qos;
  /** RETAIN as it is sent: set only for a subscription with Retain As Published. */
  readonly retain: boolean;
  /** Subscription Identifiers of all matching subscriptions; undefined for none. */
  readonly subscriptionIdentifiers: readonly number[] | undefined;
  /** `$share/GROUP/FILTER` of the shared subscription that chose this session; undefined for a subscription of its own. */
  readonly share: string | undefined;
  /** Undefined: not sent yet. */
  readonly packetId: number | undefined;
  /** PUBREC was received: only PUBREL is left to be sent, and PUBCOMP to be received. */
  readonly isReleased: boolean;
}

export interface OutgoingQueue {
  /** Messages in the queue. */
  readonly size: number;
  /** Sent and not acknowledged, in the order of sending; after a reconnection they are sent again before anything else [MQTT-4.4.0-1]. */
  inFlight(): readonly QueuedMessage[];
  /** The oldest message that was not sent yet. */
  nextUnsent(): QueuedMessage | undefined;
  hasPacketId(packetId: number): boolean;
  /**
   * Gives a message its packet identifier. A promise: it may be sent only after that, because a QoS 2 message under another identifier
   * would be another message [MQTT-4.3.3-1]; undefined: it may be sent at once. Rejects with Problem `unavailable`.
   */
  assignPacketId(queued: QueuedMessage, packetId: number): Promise<void> | undefined;
  /** PUBREC. The message is replaced by its PUBREL. Undefined: no such packet identifier. Resolves when PUBREL may be sent. */
  release(packetId: number): Promise<void> | undefined;
  /** PUBACK or PUBCOMP, or PUBREC with an error. Removes the message and returns it; undefined: no such packet identifier. */
  acknowledge(packetId: number): QueuedMessage | undefined;
  /** Removes an unsent message: it has expired, is too large for the client, or may not be received any more. */
  drop(queued: QueuedMessage): void;
}
