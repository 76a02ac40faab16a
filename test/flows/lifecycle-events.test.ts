/** Lifecycle events of a fleet, as services and operators receive them and the event journal stores them. */

import { once } from 'node:events';
import { request } from 'node:http';
import { request as requestHttps } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { enrollOnce, memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { EST_MEDIA_TYPES, EST_PATHS, type LifecycleEvent } from '@rollcall/protocol';
import type { MqttClient } from 'mqtt';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { makeDatedAuthority } from '../fixtures/dated-authority.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, openMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';
import { issueService } from '../fixtures/service.ts';

interface Heard {
  readonly topic: string;
  readonly event: LifecycleEvent;
}

let fleet: TestFleet;
let listener: MqttClient;
let heard: Heard[] = [];
let arrived: () => void = () => {};

beforeAll(async () => {
  fleet = await startFleet();
  listener = await openMqtt(await issueService(fleet, 'watcher'));
  listener.on('message', (topic, payload) => {
    heard.push({ topic, event: JSON.parse(payload.toString()) as LifecycleEvent });
    arrived();
  });
  await listener.subscribeAsync('$fleet/events/#', { qos: 1 });
});
afterAll(async () => {
  await listener.endAsync(true);
  await fleet.stop();
});
beforeEach(() => {
  heard = [];
});

/** The first message on a topic, also an earlier one. */
async function on(topic: string): Promise<LifecycleEvent> {
  for (;;) {
    const found = heard.find((one) => one.topic === topic);
    if (found !== undefined) return found.event;
    await new Promise<void>((resolve) => {
      arrived = resolve;
    });
  }
}

describe('a service that subscribes to events', () => {
  it('receives the enrollment, and a connection and its end with the same session number', async () => {
    const device = await fleet.enroll('dev-1', { group: 'press' });
    const enrolled = await on('$fleet/events/enroll/enrolled/dev-1');
    expect(enrolled).toMatchObject({
      specversion: '1.0',
      id: expect.stringMatching(/^audit-\d+$/),
      type: 'fleet.enroll.enrolled',
      source: '//rollcall.internal/registry',
      subject: 'devices/dev-1',
      data: { actor: expect.stringMatching(/^token\//), group: 'press', certSerial: expect.any(String) },
    });
    await (await openMqtt(device)).endAsync();
    await (await openMqtt(device)).endAsync();
    await on('$fleet/events/presence/disconnected/dev-1');
    const presence = () => heard.filter(({ topic }) => /presence\/\w+\/dev-1$/.test(topic)).map(({ event }) => event);
    while (presence().length < 4) {
      await new Promise<void>((resolve) => {
        arrived = resolve;
      });
    }
    const [first, firstEnd, second, secondEnd] = presence() as [
      LifecycleEvent,
      LifecycleEvent,
      LifecycleEvent,
      LifecycleEvent,
    ];
    expect(first).toMatchObject({
      type: 'fleet.presence.connected',
      subject: 'devices/dev-1',
      data: { clientId: 'dev-1', ip: '127.0.0.1', certSerial: enrolled.data.certSerial },
    });
    expect(firstEnd).toMatchObject({
      type: 'fleet.presence.disconnected',
      data: { reason: 'client_disconnected', initiator: 'client', connectedMs: expect.any(Number) },
    });
    expect(firstEnd.data.sequence).toBe(first.data.sequence);
    expect(secondEnd.data.sequence).toBe(second.data.sequence);
    expect(second.data.sequence).toBeGreaterThan(first.data.sequence as number);
  });

  it('receives why a device was disconnected, and by whom', async () => {
    const client = await openMqtt(await fleet.enroll('dev-2'));
    const gone = closed(client);
    await fleet.operator.revokeDevices({ ids: ['dev-2'], reason: 'keyCompromise' });
    await gone;
    expect(await on('$fleet/events/presence/disconnected/dev-2')).toMatchObject({
      data: { reason: 'revoked', initiator: 'server' },
    });
    expect(await on('$fleet/events/cert/revoked/dev-2')).toMatchObject({
      data: { actor: 'operator/unix', reason: 'keyCompromise' },
    });
  });

  it('receives a refused connection with the certificate that was presented', async () => {
    const device = await fleet.enroll('dev-3');
    await fleet.operator.revokeDevices({ ids: ['dev-3'], reason: 'unspecified' });
    await expect(openMqtt(device)).rejects.toThrow();
    const event = await on('$fleet/events/presence/connect_failed/dev-3');
    expect(event.data).toMatchObject({
      reason: 'revoked',
      ip: '127.0.0.1',
      certSerial: expect.stringMatching(/^[0-9a-f]+$/),
      certFingerprint: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
      certNotAfter: expect.any(String),
      certSan: 'URI:spiffe://rollcall.internal/device/dev-3',
      certIssuer: expect.stringMatching(/^CN=/),
    });
  });

  it('receives subject, issuer and dates of a certificate of another CA, with control characters escaped', async () => {
    const stranger = await makeDatedAuthority('CN=Acme\u001bforged\u202e root, O=Acme');
    const { keyPem: key, certificatePem: cert } = await stranger.device(Date.UTC(2020, 0), Date.UTC(2090, 0));
    const { port } = new URL(fleet.mqttUrl);
    const socket = connectTls({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false, key, cert });
    socket.on('error', () => {});
    const event = await on('$fleet/events/presence/connect_failed/-');
    socket.destroy();
    expect(event.data).toMatchObject({
      reason: 'certificate_untrusted',
      certSubject: 'CN=dated',
      certIssuer: expect.stringMatching(/^(?=.*O=Acme)(?=.*CN=Acme)[ -~]+$/),
      certNotBefore: '2020-01-01T00:00:00.000Z',
      certNotAfter: '2090-01-01T00:00:00.000Z',
    });
  });

  it('receives a refused renewal with the certificate that was presented, and the device that holds it', async () => {
    const device = await fleet.enroll('dev-7');
    const renew = ({ keyPem: key, certificatePem: cert }: StoredIdentity) =>
      new Promise<number | undefined>((resolve, reject) => {
        const url = new URL(EST_PATHS.simplereenroll, fleet.enrollUrl);
        const options = { method: 'POST', rejectUnauthorized: false, key, cert };
        const headers = { 'content-type': EST_MEDIA_TYPES.request };
        requestHttps(url, { ...options, headers }, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end('x');
      });
    await fleet.operator.revokeDevices({ ids: ['dev-7'], reason: 'unspecified' });
    expect(await renew(device)).toBe(403);
    const { data } = await on('$fleet/events/cert/renewal_refused/dev-7');
    expect(data).toMatchObject({ refusal: 'device_revoked', ip: '127.0.0.1', certSubject: 'CN=dev-7' });
    expect(data.certIssuer).toMatch(/^CN=/);
  });

  it('receives a refused enrollment with the token, the device that was asked for and the address', async () => {
    const token = await fleet.mint({ device: 'dev-8' });
    await expect(enrollOnce(memoryIdentityStore(), { token, deviceId: 'dev-9' })).rejects.toThrow();
    expect(await on('$fleet/events/enroll/refused/dev-9')).toMatchObject({
      source: '//rollcall.internal/enroll',
      data: {
        actor: expect.stringMatching(/^token\//),
        refusal: 'device_id_not_allowed',
        detail: 'device_id_not_allowed',
        ip: '127.0.0.1',
      },
    });
  });

  it('receives the refusal of a client without a certificate, on the topic of unknown clients', async () => {
    const { port } = new URL(fleet.mqttUrl);
    const socket = connectTls({ port: Number(port), host: '127.0.0.1', rejectUnauthorized: false });
    socket.on('error', () => {});
    const event = await on('$fleet/events/presence/connect_failed/-');
    socket.destroy();
    expect(event.subject).toBeUndefined();
    expect(event.data).toMatchObject({ reason: 'certificate_missing' });
  });

  it('receives the denial of a topic', async () => {
    const client = await openMqtt(await fleet.enroll('dev-4'));
    const gone = closed(client);
    client.publish('devices/dev-1/telemetry/climate', 'forged');
    await gone;
    expect((await on('$fleet/events/security/acl_denied/dev-4')).data).toMatchObject({
      verb: 'publish',
      topic: 'devices/dev-1/telemetry/climate',
      why: 'no_rule',
    });
  });
});

/** The first event that a client gets that resumes after this one. */
async function eventsAfter(id: string, type: string, device: string): Promise<unknown[]> {
  const resuming = request({
    socketPath: fleet.socket,
    path: `/v1/events/follow?type=${type}&device=${device}`,
    headers: { accept: 'text/event-stream', 'last-event-id': id },
  }).end();
  const [response] = await once(resuming, 'response');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    const found = [...text.matchAll(/^id: \d+\nevent: \S+\ndata: (.+)\n\n/gm)].map(([, json]) =>
      JSON.parse(json as string),
    );
    if (found.length > 0) return found;
  }
  return [];
}

describe('an operator', () => {
  it('lists events by type, area and device', async () => {
    await (await openMqtt(await fleet.enroll('dev-5'))).endAsync();
    await on('$fleet/events/presence/disconnected/dev-5');
    await on('$fleet/events/enroll/enrolled/dev-5');
    const typesOf = async (query: Parameters<typeof fleet.operator.listEvents>[0]) =>
      (await fleet.operator.listEvents(query)).map(({ type }) => type);
    const presence = ['fleet.presence.connected', 'fleet.presence.disconnected'];
    expect(await typesOf({ device: 'dev-5', type: 'presence' })).toEqual(presence);
    expect(await typesOf({ device: 'dev-5', type: 'presence.connected' })).toEqual([presence[0]]);
    expect((await typesOf({ device: 'dev-5' })).sort()).toEqual(['fleet.enroll.enrolled', ...presence]);
    expect(await typesOf({ device: 'dev-none' })).toEqual([]);
    expect(await typesOf({ limit: 2 })).toHaveLength(2);
    await expect(fleet.operator.listEvents({ type: 'weather' })).rejects.toMatchObject({ code: 'request_invalid' });
    const { stdout } = await rollcall(['events', 'list', '--device', 'dev-5', '--socket', fleet.socket]);
    expect(stdout).toMatch(/ {2}presence\.connected {2}devices\/dev-5 {2}clientId=dev-5 /);
  });

  it('follows them as server-sent events', async () => {
    const device = await fleet.enroll('dev-6');
    const text = Promise.withResolvers<string>();
    let received = '';
    const following = request({
      socketPath: fleet.socket,
      path: '/v1/events/follow?type=presence.connected&device=dev-6',
      headers: { accept: 'text/event-stream', host: 'localhost' },
    });
    const ready = new Promise<void>((resolve, reject) => {
      following.on('error', reject);
      following.on('response', (response) => {
        expect(response.headers['content-type']).toBe('text/event-stream');
        response.setEncoding('utf8').on('data', (chunk: string) => {
          received += chunk;
          if (received.includes('data: ') && received.endsWith('\n\n')) text.resolve(received);
        });
        response.on('error', () => {});
        resolve();
      });
    });
    following.end();
    await ready;
    const client = await openMqtt(device);
    const parts = /^id: \d+\n\nid: (\d+)\nevent: (\S+)\ndata: (.+)\n\n$/.exec(await text.promise);
    expect(parts?.[2]).toBe('presence.connected');
    expect(JSON.parse(parts?.[3] as string)).toMatchObject({ subject: 'devices/dev-6' });
    following.destroy();
    await client.endAsync();
    const missed = await eventsAfter(parts?.[1] as string, 'presence.disconnected', 'dev-6');
    expect(missed).toMatchObject([{ subject: 'devices/dev-6', type: 'fleet.presence.disconnected' }]);
  });
});
