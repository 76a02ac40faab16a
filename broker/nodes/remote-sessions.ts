/** The state of sessions for one node of several: the keeper has it, and this node has copies for the clients that are connected to it. */

import { Problem } from '@rollcall/protocol';
import type { Subject } from '../access/acl.ts';
import {
  type ClaimedSession,
  type ClaimRefusal,
  type ClaimRules,
  type EnqueueOptions,
  NoRoomError,
  type RetainedRoom,
  RetainRefusedError,
  type SessionClaim,
  type Sessions,
} from '../keeper/sessions.ts';
import type { Message } from '../mqtt/message.ts';
import type { DeliveredKeys } from '../routing/delivered-keys.ts';
import type { Routes } from '../routing/routes.ts';
import type { SessionStore } from '../session-store/session-store.ts';
import type { ChannelToKeeper, NodeClaim } from './node-calls.ts';
import { RemoteRecord } from './remote-record.ts';
import { RetainedReader } from './retained-reader.ts';

interface ClaimingConnection {
  readonly connectionFacts: NodeClaim['connection'];
  /** The present one. */
  readonly subject: Subject;
  readonly claimRules: ClaimRules;
}

export interface RemoteSessionsOptions {
  readonly channel: ChannelToKeeper;
  readonly routes: Routes;
  readonly memory: SessionStore;
  /** The connection that makes a claim. */
  readonly connectionOf: (clientId: string) => ClaimingConnection | undefined;
  /** The queue of a session has grown. */
  readonly queued: (record: RemoteRecord) => void;
  readonly deliveredKeys: DeliveredKeys;
}

/** More are not under way at a time. */
const MOST_ENQUEUED = 100_000;

export class RemoteSessions implements Sessions {
  readonly #options: RemoteSessionsOptions;
  readonly #records = new Map<number, RemoteRecord>();
  /** Numbers of messages that the keeper has stored and that are not delivered yet. */
  readonly #enqueued = new Set<number>();
  readonly #retained: RetainedReader;
  #lastClaim = 0;

  constructor(options: RemoteSessionsOptions) {
    this.#options = options;
    const { channel, queued } = options;
    this.#retained = new RetainedReader(channel);
    channel.handle('queued', ({ message, entries }) => {
      for (const { claim, ...entry } of entries) {
        const record = this.#records.get(claim);
        if (record === undefined) continue;
        record.queued(message, entry);
        queued(record);
      }
      return undefined;
    });
    channel.handle('unqueued', ({ claim, ref }) => {
      this.#records.get(claim)?.unqueued(ref);
      return undefined;
    });
  }

  records(): Iterable<RemoteRecord> {
    return this.#records.values();
  }

  /** The keeper chooses members of shared subscriptions. */
  choose(): undefined {
    return undefined;
  }

  async claim({ rights: _, claimant, ...claim }: SessionClaim): Promise<ClaimedSession | ClaimRefusal> {
    const { channel, memory, connectionOf, deliveredKeys } = this.#options;
    const connection = connectionOf(claim.clientId);
    if (connection === undefined)
      throw new Problem('internal', { reason: 'expected a connection that makes the claim' });
    const { connectionFacts, claimRules: rules } = connection;
    this.#lastClaim += 1;
    const number = this.#lastClaim;
    if (claimant !== undefined) claimant.onGivenUp = () => channel.tell('giveUpClaim', number);
    const calling = channel.call('claim', { ...claim, number, connection: connectionFacts, rules });
    const state = await calling.finally(() => {
      if (claimant !== undefined) claimant.onGivenUp = undefined;
    });
    if ('refusal' in state) return state;
    const { isPresent, isStored, subscriptions, sequence, recentKeys, streams } = state;
    for (const key of recentKeys) deliveredKeys.add(key);
    const released = (own: RemoteRecord) => void this.#records.delete(own.claim);
    const record = new RemoteRecord(claim, state, { channel, memory, released });
    this.#records.set(record.claim, record);
    const { subject } = connection;
    if (subject !== claim.subject) channel.tell('subjectChanged', { claim: record.claim, subject });
    return { isPresent, isStored, subscriptions, sequence, streams, record };
  }

  enqueue(message: Message, { owner, isInJournal, received }: EnqueueOptions): Promise<void> | undefined {
    const { routes } = this.#options;
    const isQueued = message.qos > 0 && routes.isQueued(message.topic);
    if (received !== undefined && !(isQueued || message.retain)) {
      received.record.incoming.put(received.packetId, undefined);
      return received.record.durable();
    }
    return isQueued || message.retain ? this.#enqueue(message, { owner, isInJournal, received }) : undefined;
  }

  mayRetain(): boolean {
    return true;
  }

  retained(filter: string, room: () => RetainedRoom): AsyncIterable<readonly Message[]> {
    return this.#retained.read(filter, room);
  }

  /** Whether the keeper has stored this message, so that it delivers it when it is told. Asked once. */
  takeEnqueued(number: number): boolean {
    return this.#enqueued.delete(number);
  }

  /** Of a message that was stored and then not acknowledged. */
  #forgetOldest(): void {
    for (const number of this.#enqueued) {
      this.#enqueued.delete(number);
      return;
    }
  }

  async #enqueue(
    message: Message,
    { owner, isInJournal, received }: Pick<EnqueueOptions, 'owner' | 'isInJournal' | 'received'>,
  ): Promise<void> {
    const record = received?.record as RemoteRecord | undefined;
    const packetId = received?.packetId ?? 0;
    record?.incoming.mark(packetId, undefined);
    const mark = record?.isStored === true ? { claim: record.claim, packetId } : undefined;
    const result = await this.#options.channel.call('enqueue', { message, owner, isInJournal, received: mark });
    if (result === 'no room') throw new NoRoomError();
    if (result === 'retain refused') throw new RetainRefusedError();
    this.#enqueued.add(message.number);
    if (this.#enqueued.size > MOST_ENQUEUED) this.#forgetOldest();
  }
}
