/**
 * The members of one shared subscription, and the choice of one of them for a message. Members take turns. The connected ones are apart
 * from the others, so that a choice does not pass over every disconnected member.
 */

import type { Qos } from '../mqtt/packets.ts';

/** A session with a shared subscription. */
export interface ShareMember {
  readonly clientId: string;
  /** The QoS that was granted. */
  readonly qos: Qos;
  readonly subscriptionIdentifier: number | undefined;
  readonly retainAsPublished: boolean;
  /** False: its session is persistent, and its client is disconnected. */
  isConnected(): boolean;
  /** Whether its access rules allow a topic at present. */
  mayReceive(topic: string): boolean;
  /** Whether it has no room for another message at present: its client does not read or acknowledge, or its queue is full. */
  isBehind(): boolean;
}

/** The part of a message that decides who may get it. */
export interface SharedMessage {
  readonly topic: string;
  readonly qos: Qos;
}

export class ShareMembers {
  readonly #byClient = new Map<string, ShareMember>();
  readonly #connected = new Turns();
  readonly #disconnected = new Turns();

  get size(): number {
    return this.#byClient.size;
  }

  all(): Iterable<ShareMember> {
    return this.#byClient.values();
  }

  has(clientId: string): boolean {
    return this.#byClient.has(clientId);
  }

  /** Replaces the same client's. A client that resubscribes does not change its turn. */
  put(member: ShareMember): void {
    const { clientId } = member;
    const known = this.#byClient.get(clientId);
    this.#byClient.set(clientId, member);
    const [own, other] = member.isConnected()
      ? [this.#connected, this.#disconnected]
      : [this.#disconnected, this.#connected];
    if (known !== undefined) {
      other.remove(known);
      if (own.replace(known, member)) return;
    }
    own.add(member);
  }

  remove(clientId: string): boolean {
    const known = this.#byClient.get(clientId);
    if (known === undefined) return false;
    this.#byClient.delete(clientId);
    this.#connected.remove(known);
    this.#disconnected.remove(known);
    return true;
  }

  /**
   * A connected member that is not behind; else a connected one; else a disconnected one, if the message would be queued for it.
   * `except` is never chosen. `mustBeConnected`: no disconnected one.
   */
  choose(message: SharedMessage, except?: string, mustBeConnected = false): ShareMember | undefined {
    const connected = this.#connected.take((member) => {
      if (!member.isConnected()) return 'leaves';
      return rank(member, message, except);
    });
    for (const member of this.#connected.left()) this.#disconnected.add(member);
    if (connected !== undefined || mustBeConnected || message.qos === 0) return connected;
    return this.#disconnected.take((member) => (member.qos === 0 ? 'no' : rank(member, message, except)));
  }
}

/** `leaves`: it is removed from its list. */
type Rank = 'first' | 'second' | 'no' | 'leaves';

function rank(member: ShareMember, { topic }: SharedMessage, except: string | undefined): Rank {
  if (member.clientId === except || !member.mayReceive(topic)) return 'no';
  return member.isBehind() ? 'second' : 'first';
}

/** Members in the order of their turns. */
class Turns {
  readonly #members: ShareMember[] = [];
  #next = 0;
  #left: ShareMember[] | undefined;

  add(member: ShareMember): void {
    this.#members.push(member);
  }

  replace(member: ShareMember, by: ShareMember): boolean {
    const at = this.#members.indexOf(member);
    if (at < 0) return false;
    this.#members[at] = by;
    return true;
  }

  remove(member: ShareMember): void {
    const at = this.#members.indexOf(member);
    if (at >= 0) this.#removeAt(at);
  }

  /** The next member of rank `first`, else the next of rank `second`; the turn after it is next. */
  take(rankOf: (member: ShareMember) => Rank): ShareMember | undefined {
    let second = -1;
    let at = this.#next;
    for (let untried = this.#members.length; untried > 0; untried -= 1) {
      if (at >= this.#members.length) at = 0;
      const member = this.#members[at] as ShareMember;
      const found = rankOf(member);
      if (found === 'leaves') {
        this.#left ??= [];
        this.#left.push(member);
        this.#removeAt(at);
        if (second > at) second -= 1;
        continue;
      }
      if (found === 'first') {
        this.#next = at + 1;
        return member;
      }
      if (found === 'second' && second < 0) second = at;
      at += 1;
    }
    if (second < 0) return undefined;
    this.#next = second + 1;
    return this.#members[second];
  }

  /** Members that have left since the last call. */
  left(): readonly ShareMember[] {
    const left = this.#left;
    this.#left = undefined;
    return left ?? NONE;
  }

  #removeAt(at: number): void {
    this.#members.splice(at, 1);
    if (at < this.#next) this.#next -= 1;
  }
}

const NONE: readonly ShareMember[] = [];
