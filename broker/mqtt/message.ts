/** An application message on its way through the broker: from a client, a will, or the server itself. */

import type { MessageProperties } from '@rollcall/protocol';
import type { Qos } from './packets.ts';

export interface Message {
  readonly topic: string;
  /** Refers to the received chunk: a part that keeps it longer than the turn copies it. */
  readonly payload: Buffer;
  readonly qos: Qos;
  /** RETAIN as published. */
  readonly retain: boolean;
  /** Undefined for none. */
  readonly properties: MessageProperties | undefined;
  /** Milliseconds since the epoch after which it is not delivered any more; undefined: never. */
  readonly expiresAt: number | undefined;
  /** The client that published it, for No Local; undefined for the server. */
  readonly clientId: string | undefined;
  /** Different for each message of one run of the server; grows. */
  readonly number: number;
}
