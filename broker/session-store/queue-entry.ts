/** One message in the queue of one session. */

import type { Message } from '../mqtt/message.ts';
import type { Qos } from '../mqtt/packets.ts';
import type { MessageBody } from './message-bodies.ts';
import type { QueuedMessage } from './outgoing-queue.ts';
import { messageBytes } from './stored-message.ts';

/** How a message is sent to one session. */
export type Delivery = Pick<QueuedMessage, 'qos' | 'retain' | 'subscriptionIdentifiers' | 'share'>;

/** In place of the message of an entry of which only PUBREL is left. */
export const RELEASED: Message = {
  topic: '',
  payload: Buffer.alloc(0),
  qos: 2,
  retain: false,
  properties: undefined,
  expiresAt: undefined,
  clientId: undefined,
  number: 0,
};

export class QueueEntry implements QueuedMessage {
  message: Message;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly subscriptionIdentifiers: readonly number[] | undefined;
  readonly share: string | undefined;
  packetId: number | undefined = undefined;
  isReleased = false;
  /** Id of its row on disk; 0 for an entry that is in memory only. */
  readonly id: number;
  /** Undefined when the message is in memory only, or released. */
  body: MessageBody | undefined;
  /** Payload and properties; 0 when the message is released. */
  bytes: number;
  /** Neighbours among the unsent entries of its queue. */
  previous: QueueEntry | undefined = undefined;
  next: QueueEntry | undefined = undefined;

  constructor(id: number, message: Message, body: MessageBody | undefined, delivery: Delivery) {
    this.message = message;
    this.qos = delivery.qos;
    this.retain = delivery.retain;
    this.subscriptionIdentifiers = delivery.subscriptionIdentifiers;
    this.share = delivery.share;
    this.id = id;
    this.body = body;
    this.bytes = messageBytes(message);
  }

  get isUnsent(): boolean {
    return this.packetId === undefined;
  }
}
