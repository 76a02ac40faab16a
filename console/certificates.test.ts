/** Certificates and CAs over HTTP: one certificate by its serial, and what third parties get. */

import type { DeviceId } from '@rollcall/protocol';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openTestConsole, START, type TestConsole } from '../test/fixtures/console/test-console.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.enroll('dev-1');
});
afterAll(() => fixture.close());

it('a certificate is found by its serial, with holder, origin and PEM, on hold while its device is suspended', async () => {
  const { client, registry } = fixture;
  const [issued] = await registry.listCertificates({ kind: 'device', id: 'dev-1' as DeviceId });
  const serial = issued?.serial as string;
  const found = await client.showCertificate({ serial });
  expect(found).toMatchObject({ serial, holder: 'device/dev-1', status: 'good', onHold: false, address: '127.0.0.1' });
  const base64 = /-----BEGIN CERTIFICATE-----\n([^-]+)-----END/.exec(found.pem)?.[1] as string;
  expect(Buffer.from(base64, 'base64')).toEqual(Buffer.from(issued?.der as Uint8Array));
  await client.suspendDevices({ ids: ['dev-1'] });
  expect(await client.showCertificate({ serial })).toMatchObject({ status: 'good', onHold: true });
  await expect(client.showCertificate({ serial: 'abc' })).rejects.toMatchObject({ code: 'certificate_unknown' });
  await expect(client.showCertificate({ serial: '0abc' })).rejects.toMatchObject({ code: 'request_invalid' });
});

it('certificates of listeners are found as well', async () => {
  const { client, registry } = fixture;
  const certificate = {
    serial: 'abcdef',
    der: Buffer.from('server'),
    publicKeySha256: 'a'.repeat(64),
    notBefore: START,
    notAfter: START + 1,
  };
  await registry.recordServerCertificate('broker', certificate);
  expect(await client.showCertificate({ serial: 'abcdef' })).toMatchObject({ holder: 'server/broker' });
});

it('what expires is counted by week, and a CA without publication has none', async () => {
  const { client } = fixture;
  expect(await client.countExpiringWeeks()).toMatchObject({ weeks: [{ device: 2 }], late: {} });
  expect(await client.showPublishedStatus()).toEqual({ cas: [], ocspSigners: [] });
  await expect(client.listStranded({ id: 'a'.repeat(40) })).rejects.toMatchObject({ code: 'ca_unknown' });
});
