/** A device that was switched off until its certificate had expired recovers by itself, at simplereenroll only. */

import { X509Certificate } from 'node:crypto';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { describe, expect, it } from 'vitest';
import { requestRenewal } from '../../device-sdk/enrollment.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const DAY_MS = 24 * 3_600_000;

describe('a device that was offline until its certificate had expired', () => {
  it('recovers with its key, connects with the recovered certificate, and renews', async () => {
    const data = temporaryDirectory();
    const then = Date.now() - 100 * DAY_MS;
    const before = await startFleet({ data, now: () => then });
    const store = memoryIdentityStore();
    const clock = { dates: () => then, learn: () => {}, lastGood: then };
    const old = await enrollOnce(store, { token: await before.mint(), deviceId: 'dev-1', clock });
    await before.stop();

    const fleet = await startFleet({ data });
    const { enrollUrl, mqttUrl } = fleet;
    const expired = { ...old, enrollUrl, mqttUrl };
    expect(Date.parse(new X509Certificate(old.certificatePem).validTo)).toBeLessThan(Date.now());
    await expect(connectMqtt(expired)).rejects.toThrow();

    const recovered = await requestRenewal(store, expired);
    expect(recovered.keyPem).toBe(old.keyPem);
    const client = await connectMqtt(recovered);
    await client.endAsync();
    await store.commit(recovered);
    const renewed = await requestRenewal(store, recovered);
    expect(renewed.keyPem).not.toBe(old.keyPem);
    await (await connectMqtt(renewed)).endAsync();
    await expect(connectMqtt(recovered)).rejects.toThrow();

    const { certificates } = await fleet.operator.showDevice({ id: 'dev-1' });
    expect(certificates.map(({ status }) => status).sort()).toEqual(['good', 'superseded', 'superseded']);
    await fleet.stop();
  });
});
