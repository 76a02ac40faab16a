/** The promise side of an aedes persistence, as aedes 1.2 calls it; the types it ships describe the callback side. */

import type { Readable } from 'node:stream';
import memory from 'aedes-persistence';

export interface StoredPacket {
  readonly topic: string;
  readonly payload: Buffer;
  readonly clientId?: string;
  messageId?: number | undefined;
  readonly cmd?: string;
}

export interface StoredSubscription {
  readonly topic: string;
  readonly qos: number;
  readonly clientId?: string;
}

export interface ClientKey {
  readonly id: string;
}

/** The promise side of an aedes persistence. */
export interface EngineMemory {
  setup(broker: unknown): Promise<void>;
  storeRetained(packet: unknown): Promise<void>;
  createRetainedStream(pattern: string): Readable;
  createRetainedStreamCombi(patterns: readonly string[]): Readable;
  addSubscriptions(client: ClientKey, subscriptions: readonly StoredSubscription[]): Promise<void>;
  removeSubscriptions(client: ClientKey, topics: readonly string[]): Promise<void>;
  subscriptionsByClient(client: ClientKey): Promise<StoredSubscription[]>;
  subscriptionsByTopic(topic: string): Promise<StoredSubscription[]>;
  cleanSubscriptions(client: ClientKey): Promise<void>;
  countOffline(): Promise<unknown>;
  outgoingEnqueueCombi(subscriptions: readonly StoredSubscription[], packet: StoredPacket): Promise<void>;
  outgoingUpdate(client: ClientKey, packet: StoredPacket): Promise<void>;
  outgoingClearMessageId(client: ClientKey, packet: unknown): Promise<StoredPacket | undefined>;
  outgoingStream(client: ClientKey): Readable;
  incomingStorePacket(client: ClientKey, packet: StoredPacket): Promise<void>;
  incomingGetPacket(client: ClientKey, packet: unknown): Promise<StoredPacket>;
  incomingDelPacket(client: ClientKey, packet: unknown): Promise<void>;
  cleanIncoming(client: ClientKey): Promise<void>;
  putWill(client: ClientKey, packet: unknown): Promise<void>;
  getWill(client: ClientKey): Promise<unknown>;
  delWill(client: ClientKey): Promise<unknown>;
  destroy(): Promise<void>;
}

export const createEngineMemory = memory as unknown as () => EngineMemory;
