/** The stored wills of all clients, one for each client id, and which of them belong to an owner. */

import { Problem } from '@rollcall/protocol';
import type { Subject } from '../access/acl.ts';
import type { WillMessage } from '../mqtt/packets.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { WillRecord } from '../session-store/will-records.ts';

/** Whose will it is, for the decision about its publication. */
export interface WillAbout {
  readonly owner: string;
  readonly subject: Subject;
}

/** `willOf` returns the same object as long as the record is not changed. */
export type WillStore = Pick<
  SessionStore,
  'wills' | 'willOf' | 'putWill' | 'setWillDue' | 'removeWill' | 'hasRoom' | 'durable'
>;

export class OwnedWills {
  readonly #store: WillStore;
  readonly #byOwner = new Map<string, Set<string>>();

  /** Removes records that cannot be read. */
  constructor(store: WillStore) {
    this.#store = store;
    for (const [clientId, { about }] of [...store.wills()]) {
      const owner = readAbout(about)?.owner;
      if (owner === undefined) store.removeWill(clientId);
      else this.#addOwner(owner, clientId);
    }
  }

  /** Of a will that the store has loaded. Undefined: there is none that can be read. */
  adopt(clientId: string): WillRecord | undefined {
    const will = this.#store.willOf(clientId);
    const owner = will && readAbout(will.about)?.owner;
    if (owner !== undefined) this.#addOwner(owner, clientId);
    return owner === undefined ? undefined : will;
  }

  /** The store has to forget it as well. */
  forget(clientId: string): void {
    const will = this.#store.willOf(clientId);
    if (will !== undefined) this.#removeOwner(readAbout(will.about)?.owner ?? '', clientId);
  }

  all(): Iterable<readonly [clientId: string, will: WillRecord]> {
    return this.#store.wills();
  }

  get(clientId: string): WillRecord | undefined {
    return this.#store.willOf(clientId);
  }

  owners(): Iterable<string> {
    return this.#byOwner.keys();
  }

  /** Client ids with a will of this owner. */
  ofOwner(owner: string): readonly string[] {
    return [...(this.#byOwner.get(owner) ?? [])];
  }

  /** Replaces the client's former will. Throws Problem `unavailable`. */
  put(clientId: string, will: WillMessage, about: WillAbout): void {
    if (!this.#store.hasRoom()) {
      throw new Problem('unavailable', { reason: 'expected room to store a will, found none' });
    }
    this.remove(clientId);
    this.#store.putWill(clientId, { ...will, about: JSON.stringify(about), dueAt: undefined });
    this.#addOwner(about.owner, clientId);
  }

  /** Returns the record as it is then. */
  setDue(clientId: string, dueAt: number): WillRecord | undefined {
    this.#store.setWillDue(clientId, dueAt);
    return this.#store.willOf(clientId);
  }

  /** Returns the record as it is then. */
  setAbout(clientId: string, about: WillAbout): WillRecord | undefined {
    const will = this.#store.willOf(clientId);
    const text = JSON.stringify(about);
    if (will === undefined || will.about === text) return will;
    this.#store.putWill(clientId, { ...will, about: text });
    return this.#store.willOf(clientId);
  }

  remove(clientId: string): void {
    const will = this.#store.willOf(clientId);
    if (will === undefined) return;
    this.#store.removeWill(clientId);
    this.#removeOwner(readAbout(will.about)?.owner ?? '', clientId);
  }

  durable(): Promise<void> {
    return this.#store.durable();
  }

  #removeOwner(owner: string, clientId: string): void {
    const own = this.#byOwner.get(owner);
    own?.delete(clientId);
    if (own?.size === 0) this.#byOwner.delete(owner);
  }

  #addOwner(owner: string, clientId: string): void {
    const own = this.#byOwner.get(owner);
    if (own === undefined) this.#byOwner.set(owner, new Set([clientId]));
    else own.add(clientId);
  }
}

function readAbout(text: string): WillAbout | undefined {
  try {
    const about = JSON.parse(text) as Partial<WillAbout> | null;
    if (typeof about?.owner !== 'string' || about.subject?.identity === undefined) return undefined;
    return about as WillAbout;
  } catch {
    return undefined;
  }
}
