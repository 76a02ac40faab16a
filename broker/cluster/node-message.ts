/** What one node sends to another, as rows have it: JSON, and the payload of a message as bytes. */

import type { Message } from '../mqtt/message.ts';
import { decodeProperties, encodeProperties } from '../session-store/stored-properties.ts';

/** Names a message over all nodes that got it: the same message may reach a session over two of them while it moves. */
export interface Origin {
  readonly node: string;
  readonly number: number;
}

export type NodeMessage =
  /** A message that is stored here with the commit that brings it there. `share`: for one member of a shared subscription. */
  | {
      readonly kind: 'message';
      readonly message: Message;
      readonly owner: string;
      readonly share?: string | undefined;
      /** Only for sessions that moved to the node lately. */
      readonly moved?: Origin | undefined;
      /** Nodes that had no member for the share. */
      readonly hops?: number | undefined;
    }
  | { readonly kind: 'routes'; readonly added: readonly string[]; readonly removed: readonly string[] }
  | { readonly kind: 'shares'; readonly shares: readonly ShareState[] }
  /** The answer to a request for a session. Messages for it that follow are forwarded ones. */
  | {
      readonly kind: 'handed over';
      readonly clientId: string;
      /** The number of the request. */
      readonly request: number;
      /** The sender had the session, and the claim is that of the receiver; otherwise the receiver looks again whose it is. */
      readonly isGiven: boolean;
      /** There are rows of the session, which are complete. */
      readonly isStored: boolean;
      /** Number of its last connection, and who that was; undefined: it was not connected. */
      readonly sequence: number;
      readonly from: { readonly address: string; readonly serial: string } | undefined;
    }
  /** The sender has adopted what a dead node had. */
  | { readonly kind: 'node gone'; readonly node: string }
  /** The sender asks what the receiver knows of its own sessions, or has it do something to them. */
  | { readonly kind: 'request'; readonly call: string; readonly input: unknown }
  /** To the request of this number. Without an output: the receiver cannot answer it. */
  | { readonly kind: 'response'; readonly request: number; readonly output?: unknown };

/** Members of one shared subscription on one node. */
export interface ShareState {
  readonly share: string;
  readonly connected: number;
  readonly away: number;
}

const NOTHING = Buffer.alloc(0);
const KINDS: ReadonlySet<string> = new Set(['routes', 'shares', 'handed over', 'node gone', 'request', 'response']);

export function encodeNodeMessage(sent: NodeMessage): { readonly about: string; readonly payload: Buffer } {
  if (sent.kind !== 'message') return { about: JSON.stringify(sent), payload: NOTHING };
  const { payload, properties, ...message } = sent.message;
  const about = { ...sent, message: { ...message, properties: encodeProperties(properties) } };
  return { about: JSON.stringify(about), payload };
}

/** Undefined for a kind that a newer release sends. Fields of a newer release are passed over. */
export function decodeNodeMessage(about: string, payload: Buffer): NodeMessage | undefined {
  const sent = JSON.parse(about) as NodeMessage;
  if (sent.kind === 'message') {
    const { properties, ...message } = sent.message as Omit<Message, 'properties'> & {
      readonly properties: string | null;
    };
    return { ...sent, message: { ...(message as Message), properties: decodeProperties(properties), payload } };
  }
  return KINDS.has(sent.kind) ? sent : undefined;
}
