/**
 * A device that publishes keyed messages over mutual TLS to any node of a cluster, again and again until each is acknowledged, and records
 * what it did and saw. It leaves a connection that ends, and one that does not answer in time.
 */

import { setTimeout as passed } from 'node:timers/promises';
import type { StoredIdentity } from '@rollcall/device-sdk';
import { commandFilter, type DeviceId, parseDeviceId, telemetryTopic } from '@rollcall/protocol';
import type { MqttClient } from 'mqtt';
import { beginMqtt } from '../fixtures/mqtt.ts';
import type { HistoryRecorder } from './recorder.ts';
import type { ServedNode } from './served-node.ts';

export interface PublishingDeviceOptions {
  readonly identity: StoredIdentity;
  readonly nodes: readonly ServedNode[];
  readonly recorder: HistoryRecorder;
  /** A number of 0 up to 1. */
  readonly random: () => number;
  /** Milliseconds between two messages. */
  readonly every: number;
  /** Keys of the kind NUMBER.EPOCH, or others: the journal has both in different ways. */
  readonly keys: 'numbered' | 'named';
  readonly session: 'clean' | 'persistent';
  readonly protocolVersion: 4 | 5;
}

export const STREAM = 'count';

/** Messages that are not answered, over one connection, at most. */
const IN_FLIGHT = 4;
/** How long an answer may take before the device connects again, ms: from the first to the sum of both. */
const PATIENCE_MS = 1_500;
const MORE_PATIENCE_MS = 1_500;
/** Between two connections, at most, ms; and after one that was refused. */
const PAUSE_MS = 100;
const REFUSED_PAUSE_MS = 800;
/** How long it publishes over a connection that it has given up, ms: longer than a node is deaf before it closes its sockets. */
const GOES_ON_MS = 40_000;
const CONNECT_MS = 4_000;

interface Connection {
  readonly client: MqttClient;
  readonly node: string;
  readonly number: number;
  readonly closed: Promise<void>;
  wasConnected: boolean;
  isClosed: boolean;
  /** When each message in flight was sent. */
  readonly sentAt: Map<string, number>;
}

export class PublishingDevice {
  readonly id: DeviceId;
  /** An operator has ordered its revocation: nothing of it has to be acknowledged. */
  isRevoked = false;
  /** It goes on with each connection that does not answer. */
  isPatient = false;
  readonly #options: PublishingDeviceOptions;
  /** Not acknowledged, oldest first. */
  readonly #unanswered = new Set<string>();
  readonly #connections = new Set<Connection>();
  #sent = 0;
  #isStopping = false;
  #isEnded = false;

  constructor(options: PublishingDeviceOptions) {
    this.#options = options;
    this.id = parseDeviceId(options.identity.deviceId) as DeviceId;
  }

  get unanswered(): number {
    return this.#unanswered.size;
  }

  /** Over a connection that it has not given up, or over one that it has. */
  isConnectedTo({ name }: ServedNode): boolean {
    return [...this.#connections].some(({ node, client }) => node === name && client.connected);
  }

  /** Publishes until `end` is called, or after `settle` until everything is acknowledged. */
  async run(): Promise<void> {
    const { nodes, random } = this.#options;
    while (!this.#isEnded && !this.#isSettled) {
      const reachable = nodes.filter(({ mqttUrl }) => mqttUrl !== undefined);
      const node = reachable[Math.floor(random() * reachable.length)];
      const wasConnected = node !== undefined && (await this.connect(node));
      await passed(random() * (wasConnected ? PAUSE_MS : REFUSED_PAUSE_MS));
    }
  }

  /** Sends nothing new. */
  settle(): void {
    this.#isStopping = true;
    // Also those that were given up: what was sent over them is sent again.
    for (const { client } of this.#connections) client.end(true);
  }

  /** Closes its connections. */
  end(): void {
    this.#isEnded = true;
    for (const { client } of this.#connections) client.end(true);
  }

  /** One connection, until it is closed or given up, or for so many milliseconds. False: it was never accepted. */
  async connect(node: ServedNode, longest = Number.POSITIVE_INFINITY): Promise<boolean> {
    const { recorder, random, every } = this.#options;
    const connection = this.#begin(node);
    if (connection === undefined) return false;
    const patience = PATIENCE_MS + MORE_PATIENCE_MS * random();
    const begun = recorder.now();
    for (;;) {
      await Promise.race([connection.closed, passed(every)]);
      if (connection.isClosed) break;
      const waitingSince = connection.client.connected ? Math.min(...connection.sentAt.values()) : begun;
      if (this.#isSettled || recorder.now() - begun > longest) connection.client.end(true);
      else if (recorder.now() - waitingSince <= patience) this.#publishMore(connection, IN_FLIGHT);
      else if (!this.isPatient && random() < 0.5) connection.client.end(true);
      else {
        void this.#goOn(connection);
        break;
      }
    }
    return connection.wasConnected;
  }

  get #isSettled(): boolean {
    return this.#isStopping && this.#unanswered.size === 0;
  }

  /** As a device that has not noticed that another connection has its client id: it publishes on, whether it is answered or not. */
  async #goOn(connection: Connection): Promise<void> {
    const { recorder, every } = this.#options;
    const until = recorder.now() + GOES_ON_MS;
    while (!connection.isClosed && recorder.now() < until) {
      this.#publishMore(connection, 2 * IN_FLIGHT);
      await Promise.race([connection.closed, passed(4 * every)]);
    }
    connection.client.end(true);
  }

  #begin(node: ServedNode): Connection | undefined {
    const { identity, recorder, session, protocolVersion } = this.#options;
    const { mqttUrl } = node;
    if (mqttUrl === undefined) return undefined;
    const number = recorder.nextConnection();
    const on = { device: this.id, node: node.name, connection: number };
    recorder.record({ type: 'connecting', ...on });
    const isClean = session === 'clean';
    const client = beginMqtt(
      { ...identity, mqttUrl },
      {
        ...{ clean: isClean, protocolVersion, keepalive: 60, connectTimeout: CONNECT_MS },
        ...(protocolVersion === 5 && { properties: { sessionExpiryInterval: isClean ? 0 : 3_600 } }),
      },
    );
    const closed = Promise.withResolvers<void>();
    const connection: Connection = {
      ...{ client, node: node.name, number, closed: closed.promise, wasConnected: false, isClosed: false },
      sentAt: new Map(),
    };
    this.#connections.add(connection);
    client.on('connect', () => {
      connection.wasConnected = true;
      recorder.record({ type: 'connected', ...on });
      client.subscribe(commandFilter(this.id), { qos: 1 }, () => {});
      for (const key of this.#unanswered) this.#publish(connection, key);
    });
    client.on('message', (_topic, payload) => {
      if (!connection.isClosed) recorder.record({ type: 'delivered', ...on, key: payload.toString() });
    });
    client.once('close', () => {
      connection.isClosed = true;
      recorder.record({ type: 'closed', ...on });
      this.#connections.delete(connection);
      client.end(true);
      closed.resolve();
    });
    return connection;
  }

  #publishMore(connection: Connection, inFlight: number): void {
    if (this.#isStopping || !connection.client.connected || connection.sentAt.size >= inFlight) return;
    this.#sent += 1;
    const key = this.#options.keys === 'numbered' ? `${this.#sent}.h` : `h-${this.#sent}`;
    this.#unanswered.add(key);
    this.#publish(connection, key);
  }

  #publish(connection: Connection, key: string): void {
    const { recorder } = this.#options;
    const { client, node, number, sentAt } = connection;
    const on = { device: this.id, node, connection: number, key };
    recorder.record({ type: 'published', ...on });
    sentAt.set(key, recorder.now());
    client.publish(telemetryTopic(this.id, STREAM, key), JSON.stringify(key), { qos: 1 }, (error) => {
      sentAt.delete(key);
      if (connection.isClosed) return;
      // Refused: it is sent again over another connection.
      if (error) return this.isPatient ? undefined : void client.end(true);
      recorder.record({ type: 'acknowledged', ...on });
      this.#unanswered.delete(key);
    });
  }
}
