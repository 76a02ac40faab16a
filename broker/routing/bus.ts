/**
 * How what happens on one node reaches the sessions of all. The handlers use it without knowing how many nodes there are. `LocalBus` is the
 * bus of one process, which is its own only node.
 */

import type { Identity } from '@rollcall/protocol';
import type { TerminationReport } from '../../registry/index.ts';
import type { Subject } from '../access/acl.ts';
import type { DisconnectReason } from '../events.ts';
import type { ShareChoice, ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';

/** A change that every node has to apply to its sessions before it counts as done. */
export type SessionChange =
  | { readonly kind: 'disconnect'; readonly identity: Identity; readonly reason: DisconnectReason }
  | { readonly kind: 'disconnect certificate'; readonly identity: Identity; readonly serial: string }
  | { readonly kind: 'reauthorize'; readonly subject: Subject };

export interface Bus {
  /** Delivers a stored message to the connected sessions that subscribe to it. `done` is called once, when all of them have it. */
  tell(message: Message, shares: readonly ShareChoice[] | undefined, done?: () => void): void;
  /** Resolves with what each node did, when all have applied the change. */
  confirm(change: SessionChange): Promise<readonly TerminationReport[]>;
  /** Delivers a stored message to a member of a shared subscription, in place of one that did not acknowledge it. */
  tellMember(message: Message, share: string, member: ShareMember): void;
}
