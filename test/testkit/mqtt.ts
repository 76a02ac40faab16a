/** MQTT from a test's side: a well-behaved client, and ways to learn that one was not let in. */

import mqtt, { type IClientOptions, type MqttClient } from 'mqtt';
import { onTestFinished } from 'vitest';
import { localhostLookup } from '../../contract/localhost.ts';
import type { StoredIdentity } from '../../device-sdk/identity-store.ts';

export type Credentials = Pick<StoredIdentity, 'mqttUrl' | 'keyPem' | 'certificatePem' | 'rootPem'>;

function optionsOf(credentials: Credentials, options: IClientOptions): IClientOptions {
  return {
    key: credentials.keyPem,
    cert: credentials.certificatePem,
    ca: credentials.rootPem,
    ...localhostLookup(new URL(credentials.mqttUrl).hostname),
    reconnectPeriod: 0,
    connectTimeout: 10_000,
    protocolVersion: 4,
    ...options,
  };
}

/** Resolves at CONNACK 0; rejects when the broker refuses or closes. Ended with the test. */
export async function connectMqtt(
  identity: Credentials & { readonly deviceId: string },
  options: IClientOptions = {},
): Promise<MqttClient> {
  const client = await openMqtt(identity, options);
  onTestFinished(() => client.endAsync(true));
  return client;
}

/** The same outside a test; whoever opens it ends it. */
export async function openMqtt(
  identity: Credentials & { readonly deviceId: string },
  options: IClientOptions = {},
): Promise<MqttClient> {
  const client = mqtt.connect(identity.mqttUrl, optionsOf(identity, { clientId: identity.deviceId, ...options }));
  try {
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve());
      client.once('error', reject);
      client.once('close', () => reject(new Error('the connection was closed before CONNACK')));
    });
  } catch (error) {
    client.end(true);
    throw error;
  }
  client.on('error', () => {}); // what comes later is told by 'close'
  return client;
}

/** Resolves when the connection is gone. */
export function closed(client: MqttClient): Promise<void> {
  return new Promise((resolve) => {
    if (!client.connected && client.disconnected) resolve();
    else client.once('close', () => resolve());
  });
}

/** The next message, or the next one on this topic, as text. */
export function nextMessage(
  client: MqttClient,
  on?: string,
): Promise<{ readonly topic: string; readonly payload: string }> {
  return new Promise((resolve) => {
    const hear = (topic: string, payload: Buffer) => {
      if (on !== undefined && topic !== on) return;
      client.off('message', hear);
      resolve({ topic, payload: payload.toString() });
    };
    client.on('message', hear);
  });
}
