/** A CA is replaced while devices stay connected and continue to publish. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { memoryIdentityStore, type StoredIdentity } from '@rollcall/device-sdk';
import { parseRenewalNotice, renewalNoticeTopic, TRUST_BUNDLE_TOPIC } from '@rollcall/protocol';
import type { MqttClient } from 'mqtt';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import { evaluateBundle } from '../../device-sdk/trust-bundle.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { closed, connectMqtt, nextMessage } from '../fixtures/mqtt.ts';

describe('the issuing CA of a connected fleet', () => {
  let fleet: TestFleet;
  let identities: StoredIdentity[];
  let clients: MqttClient[];
  let dropped: number;
  beforeEach(async () => {
    fleet = await startFleet();
    identities = [];
    clients = [];
    dropped = 0;
    for (let n = 1; n <= 8; n += 1) identities.push(await fleet.enroll(`press-${n}`, { group: 'press' }));
    for (const identity of identities) {
      const client = await connectMqtt(identity);
      client.on('close', () => {
        dropped += 1;
      });
      clients.push(client);
    }
  });
  afterEach(() => fleet.stop());

  /** Every client publishes a message, and each message is acknowledged. */
  const everyoneSpeaks = () =>
    Promise.all(clients.map((client, n) => client.publishAsync(`devices/press-${n + 1}/telemetry/t`, '1', { qos: 1 })));
  const states = async () =>
    (await fleet.operator.listCas()).filter(({ role }) => role === 'issuing').map(({ state }) => state);

  it('is replaced in four stages, and no session is dropped in any of them', async () => {
    const [first] = (await fleet.operator.listCas()).filter(({ role }) => role === 'issuing');
    const firstId = first?.id as string;
    const bundles: string[] = [];
    const listener = clients[0] as MqttClient;
    listener.on('message', (topic, payload) => topic === TRUST_BUNDLE_TOPIC && bundles.push(payload.toString()));
    await listener.subscribeAsync([TRUST_BUNDLE_TOPIC, renewalNoticeTopic('press-1' as never)], { qos: 1 });

    const { id } = await fleet.operator.prepareCa({});
    await everyoneSpeaks();
    expect(await states()).toEqual(['active', 'prepared']);
    expect(bundles.at(-1)?.match(/BEGIN CERTIFICATE/g)).toHaveLength(3);

    await fleet.operator.activateCa({ id });
    await everyoneSpeaks();
    expect(await states()).toEqual(['outgoing', 'active']);
    // The new CA signs new devices, and devices of both CAs connect.
    const added = await fleet.enroll('press-9');
    await connectMqtt(added);
    await connectMqtt(identities[1] as StoredIdentity).then((again) => again.endAsync());
    clients.splice(1, 1);
    dropped = 0;

    const noticed = nextMessage(listener, renewalNoticeTopic('press-1' as never));
    const pulled = await fleet.operator.taintCa({ id: firstId, withinSeconds: 60 });
    expect(pulled.pulled).toBe(8);
    expect(parseRenewalNotice((await noticed).payload)).toMatchObject({ reason: 'ca_rotation' });
    await expect(fleet.operator.retireCa({ id: firstId })).rejects.toMatchObject({
      code: 'ca_would_strand',
      message: expect.stringContaining('8 devices'),
    });

    const gone = nextMessage(listener, renewalNoticeTopic('press-1' as never));
    const renewed: StoredIdentity[] = [];
    for (const identity of identities) {
      renewed.push(await requestRenewal(memoryIdentityStore(), identity));
    }
    expect(await gone).toEqual({ topic: 'devices/press-1/server/renewal', payload: '' });
    await fleet.operator.retireCa({ id: firstId });
    expect(await states()).toEqual(['retired', 'active']);
    expect(dropped).toBe(0);

    // The old certificates are refused; the new ones are accepted.
    await expect(connectMqtt(identities[2] as StoredIdentity)).rejects.toThrow();
    await (await connectMqtt(renewed[2] as StoredIdentity)).endAsync();
  });

  it('is retired with the certificates that the operator gave up, and no other device is affected', async () => {
    const [first] = (await fleet.operator.listCas()).filter(({ role }) => role === 'issuing');
    const { id } = await fleet.operator.prepareCa({});
    await fleet.operator.activateCa({ id });
    const given = clients.splice(0, 3);
    const gone = given.map((client) => closed(client));
    for (const identity of identities.slice(3)) await requestRenewal(memoryIdentityStore(), identity);
    await expect(fleet.operator.retireCa({ id: first?.id as string, strand: 2 })).rejects.toMatchObject({
      code: 'ca_would_strand',
    });
    await fleet.operator.retireCa({ id: first?.id as string, strand: 3 });
    await Promise.all(gone);
    expect((await fleet.operator.listSessions()).sessions).toHaveLength(5);
    for (const client of clients) expect(client.connected).toBe(true);
  });

  it('is replaced with its root, cross-signed by the old one: devices that trust only the old root stay connected', async () => {
    const [oldRoot] = (await fleet.operator.listCas()).filter(({ role }) => role === 'root');
    const oldest = identities[0] as StoredIdentity;
    const { id: rootId } = await fleet.operator.prepareCa({ role: 'root' });
    // Before anything is signed by the new root: a device accepts it only with a cross-certificate of a root that it trusts.
    const told = await fleet.operator.trustBundle();
    expect(evaluateBundle(oldest, told)).toMatchObject({ verdict: 'changed', added: 1, dropped: 0 });
    const { id } = await fleet.operator.prepareCa({});
    await fleet.operator.activateCa({ id });
    await everyoneSpeaks();
    expect((await fleet.operator.listCas()).find((ca) => ca.id === rootId)).toMatchObject({ state: 'active' });
    expect(dropped).toBe(0);
    expect((await fleet.operator.listCas()).find((ca) => ca.id === oldRoot?.id)).toMatchObject({ stranded: 8 });

    // A device enrolled earlier trusts the old root only, a device enrolled now the new root only.
    const old = identities[3] as StoredIdentity;
    const renewed = await requestRenewal(memoryIdentityStore(), old);
    await (await connectMqtt({ ...renewed, rootPem: old.rootPem })).endAsync();
    const added = await fleet.enroll('press-9');
    expect(added.rootPem).not.toBe(old.rootPem);
    await (await connectMqtt(added)).endAsync();
    expect(readFileSync(join(fleet.data, 'trust-bundle.pem'), 'utf8').trim()).toBe(added.rootPem.trim());

    await expect(fleet.operator.retireCa({ id: oldRoot?.id as string, strand: 1000 })).rejects.toMatchObject({
      code: 'ca_state_conflict',
    });
  });
});
