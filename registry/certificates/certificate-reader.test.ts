/** Certificate status over a second connection, in a thread of its own as a node has it. */

import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { device, OPERATOR, RegistryFixture } from '../../test/behaviour/registry-fixture.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import type { CertificateStatus } from '../index.ts';
import { openRegistry } from '../open.ts';
import { openCertificateReader } from './certificate-reader.ts';

async function fleetInFile() {
  const file = join(temporaryDirectory(), 'registry.db');
  const fleet = await RegistryFixture.open(async (now) => {
    const registry = await openRegistry({ file, now, log: pino({ level: 'silent' }) });
    onTestFinished(() => registry.close());
    return { registry, reopen: () => Promise.reject(new Error('not reopened')) };
  });
  return { fleet, file };
}

it('a thread with a connection of its own sees a revocation before the listeners of the revocation are called', async () => {
  const { fleet, file } = await fleetInFile();
  const serial = await fleet.enroll('pump-1');
  const reader = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads');
     import(workerData.program).then(async ({ openCertificateReader }) => {
       const reader = await openCertificateReader({ file: workerData.file, now: () => workerData.now });
       parentPort.on('message', async (serial) => parentPort.postMessage(await reader.certificateStatus(serial)));
     });`,
    {
      eval: true,
      workerData: { program: new URL('certificate-reader.ts', import.meta.url).href, file, now: fleet.now },
    },
  );
  onTestFinished(() => void reader.terminate());
  const statusOf = (each: string) =>
    new Promise<CertificateStatus>((resolve, reject) => {
      reader.once('message', resolve).once('error', reject).postMessage(each);
    });
  expect(await statusOf(serial)).toEqual(await fleet.registry.certificateStatus(serial));
  expect(await statusOf('none')).toEqual({ state: 'unknown' });
  const heard: string[] = [];
  fleet.registry.onRevocation(async () => {
    heard.push((await statusOf(serial)).state);
  });
  await fleet.registry.revokeDevices([device('pump-1')], 'keyCompromise', OPERATOR);
  expect(heard).toEqual(['revoked']);
});

it('a connection that only reads answers what the registry answers, whatever is written beside it', async () => {
  const { fleet, file } = await fleetInFile();
  const reader = await openCertificateReader({ file, now: () => fleet.now });
  onTestFinished(() => reader.close());
  for (let n = 0; n < 20; n += 1) {
    const serial = await fleet.enroll(`pump-${n}`);
    expect(await reader.certificateStatus(serial)).toMatchObject({ state: 'good' });
    if (n % 2 === 0) await fleet.registry.revokeDevices([device(`pump-${n}`)], 'unspecified', OPERATOR);
    expect(await reader.certificateStatus(serial)).toEqual(await fleet.registry.certificateStatus(serial));
  }
});
