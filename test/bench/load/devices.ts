/** The devices of the load: their identities and all of their packets, created before the measurement. */

import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createSecureContext, type SecureContext, type SecureContextOptions } from 'node:tls';
import { writeCsr } from '@rollcall/device-sdk/building-blocks';
import { type DeviceId, eventTopic, parseDeviceId, telemetryTopic } from '@rollcall/protocol';
import { connectPacket, type MqttVersion, publishPacket } from './mqtt-bytes.ts';
import type { Topic } from './orders.ts';

/** A device that has no certificate yet. */
export interface Applicant {
  readonly id: DeviceId;
  readonly key: KeyObject;
  readonly csr: Buffer;
}

export interface LoadDevice {
  readonly id: DeviceId;
  /** Key and certificate, parsed once: parsing them for each connection would cost more than the handshake. */
  readonly context: SecureContext;
  readonly connect: Readonly<Record<MqttVersion, Buffer>>;
  readonly publish: Readonly<Record<MqttVersion, Readonly<Record<Topic, PublishRing>>>>;
}

/** Packets that differ in their identifier alone, so that any number of them, from any one on, is one piece of bytes. */
export interface PublishRing {
  readonly bytes: Buffer;
  readonly packetBytes: number;
}

/** Most messages in flight on one connection. */
export const RING = 10;

/**
 * The same handshake with every server: TLS 1.3, one curve that all of them have (a newer OpenSSL would agree on a
 * hybrid with an older one's share unused), no CA to verify the server by. The last is what makes the load cheaper than
 * what it measures; servers do the same work for a client that verifies and for one that doesn't.
 */
export const CLIENT_TLS: SecureContextOptions = { minVersion: 'TLSv1.3', ecdhCurve: 'X25519', ca: [] };

let applicants = 0;

export function newApplicant(): Applicant {
  applicants += 1;
  const id = parseDeviceId(`bench-${String(applicants).padStart(6, '0')}`) as DeviceId;
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { id, key: privateKey, csr: writeCsr(privateKey, { commonName: id }) };
}

/** `certificate` is PEM, the leaf alone: what our devices send to a broker, which holds the issuing CA itself. */
export function newDevice({ id, key }: Applicant, certificate: string): LoadDevice {
  const keyPem = key.export({ type: 'pkcs8', format: 'pem' });
  return {
    id,
    context: createSecureContext({ ...CLIENT_TLS, key: keyPem, cert: certificate }),
    connect: { 4: connectPacket(id, 4), 5: connectPacket(id, 5) },
    publish: { 4: publishRings(id, 4), 5: publishRings(id, 5) },
  };
}

function publishRings(id: DeviceId, version: MqttVersion): Readonly<Record<Topic, PublishRing>> {
  return {
    telemetry: publishRing(telemetryTopic(id, 'load'), version),
    events: publishRing(eventTopic(id, 'load'), version),
  };
}

/** The ring twice, so that any part of it is contiguous. */
function publishRing(topic: string, version: MqttVersion): PublishRing {
  const once = Array.from({ length: RING }, (_, at) => publishPacket(topic, at + 1, version));
  return { bytes: Buffer.concat([...once, ...once]), packetBytes: (once[0] as Buffer).length };
}
