/**
 * Shared subscriptions (MQTT 5, 4.8.2): of all sessions with the same `$share/GROUP/FILTER`, one receives a message. A session that is
 * in several shares whose filters match, or has a subscription of its own as well, receives a copy for each.
 *
 * Plain state without sockets or storage. The caller adds a member again whenever its client reconnects, and removes it as soon as its
 * session ends: a member that is not connected is taken for a persistent session with a queue.
 */

import { parseShare } from '@rollcall/protocol';
import { FilterTree } from '../session-store/filter-tree.ts';
import { type SharedMessage, type ShareMember, ShareMembers } from './share-members.ts';

export type { SharedMessage, ShareMember } from './share-members.ts';

export interface ShareChoice {
  /** `$share/GROUP/FILTER` */
  readonly share: string;
  readonly member: ShareMember;
  /** The message is in the queue of its session, which outlives the connection. Set by what stores the message. */
  isQueued: boolean;
}

interface Share {
  readonly share: string;
  readonly filter: string;
  readonly members: ShareMembers;
}

export class SharedSubscriptions {
  readonly #shares = new Map<string, Share>();
  readonly #byFilter = new FilterTree<Share>(({ share }) => share);
  readonly #byClient = new Map<string, Set<string>>();

  /** Shares with at least one member. */
  get size(): number {
    return this.#shares.size;
  }

  get filters(): FilterTree<unknown> {
    return this.#byFilter as FilterTree<unknown>;
  }

  /** Changes whenever an answer of `hasMatch` may change, so that answers can be cached. */
  get generation(): number {
    return this.#byFilter.generation;
  }

  /** Replaces the same client's subscription to this share. Throws RangeError for text that is not `$share/GROUP/FILTER`. */
  add(share: string, member: ShareMember): void {
    (this.#shares.get(share) ?? this.#open(share)).members.put(member);
    const own = this.#byClient.get(member.clientId);
    if (own === undefined) this.#byClient.set(member.clientId, new Set([share]));
    else own.add(share);
  }

  remove(share: string, clientId: string): boolean {
    const known = this.#shares.get(share);
    if (known === undefined || !known.members.remove(clientId)) return false;
    const own = this.#byClient.get(clientId);
    own?.delete(share);
    if (own?.size === 0) this.#byClient.delete(clientId);
    if (known.members.size === 0) this.#close(known);
    return true;
  }

  /** Returns the shares that the client was a member of. */
  removeClient(clientId: string): readonly string[] {
    const own = [...(this.#byClient.get(clientId) ?? [])];
    for (const share of own) this.remove(share, clientId);
    return own;
  }

  /** Whether the filter of any share matches a topic. Its members may not be able to receive the message all the same. */
  hasMatch(topic: string): boolean {
    return this.#byFilter.hasMatch(topic);
  }

  hasMember(share: string, clientId: string): boolean {
    return this.#shares.get(share)?.members.has(clientId) === true;
  }

  /** The members of each share. */
  *members(): Iterable<readonly [share: string, members: Iterable<ShareMember>]> {
    for (const { share, members } of this.#shares.values()) yield [share, members.all()];
  }

  /** One member of this share; undefined when none can receive the message. */
  chooseIn(share: string, message: SharedMessage): ShareMember | undefined {
    return this.#shares.get(share)?.members.choose(message);
  }

  /** One member of each share whose filter matches; none of a share whose members cannot receive the message. */
  choose(message: SharedMessage): readonly ShareChoice[] {
    if (this.#shares.size === 0) return NONE;
    const choices: ShareChoice[] = [];
    for (const { share, members } of this.#byFilter.matching(message.topic)) {
      const member = members.choose(message);
      if (member !== undefined) choices.push({ share, member, isQueued: false });
    }
    return choices;
  }

  /**
   * Another member for a message that `leaving` did not acknowledge: one of QoS 1, or one of QoS 2 that was not sent yet [MQTT-4.8.2-5].
   * While `leaving` is a member, so that its session can still send the message after its client reconnects, only connected ones.
   */
  chooseOther(share: string, message: SharedMessage, leaving: string): ShareMember | undefined {
    const members = this.#shares.get(share)?.members;
    return members?.choose(message, leaving, members.has(leaving));
  }

  #open(share: string): Share {
    const filter = parseShare(share)?.filter;
    if (filter === undefined) throw new RangeError('expected $share/GROUP/FILTER');
    const opened: Share = { share, filter, members: new ShareMembers() };
    this.#shares.set(share, opened);
    this.#byFilter.addStored(filter, opened);
    return opened;
  }

  #close(share: Share): void {
    this.#shares.delete(share.share);
    this.#byFilter.removeStored(share.filter, share.share);
  }
}

const NONE: readonly ShareChoice[] = [];
