/** A server that is killed before any single statement of what it does to issue a certificate. */

import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEFAULT_GROUP, type DeviceId, formatBootstrapToken } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';
import { type DeviceIssuance, issueDeviceCertificates } from '../../test/fixtures/enroll/device-issuance.ts';
import { openStoredAuthority } from '../../test/fixtures/enroll/stored-authority.ts';
import { writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import { testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import { runProcess } from '../../test/fixtures/started-processes.ts';

const killed = fileURLToPath(new URL('../../test/fixtures/enroll/killed-issuance.ts', import.meta.url));
const deviceId = 'dev-7' as DeviceId;

interface Life {
  /** What the device had received when the server died. */
  readonly answers: readonly string[];
  readonly signal: string | undefined;
}

/** Resolves when the process has ended, however it did. */
async function live(data: string, step: number, order: DeviceIssuance): Promise<Life> {
  const args = [killed, data, String(step), JSON.stringify(order)];
  const { code, signal, stdout, stderr } = await runProcess(process.execPath, args);
  if (code !== 0 && signal !== 'SIGKILL') throw new Error(stderr);
  return { answers: stdout.split('\n').filter(Boolean), signal: signal ?? undefined };
}

/** A server before its first device, to be copied, and the one order that all lives get. */
async function unborn(): Promise<{ readonly template: string; readonly order: DeviceIssuance }> {
  const template = testDirectory();
  const { registry, authority, close } = await openStoredAuthority(template);
  const mint = { maxUses: 1, ttlSeconds: 3600, group: DEFAULT_GROUP, labels: {} };
  const { record, secret } = await registry.createToken(mint, 'operator/test');
  const { rootSha256 } = authority.trust;
  await close();
  const token = formatBootstrapToken({ id: record.id, secret, rootSha256, enrollUrl: 'https://localhost:8443' });
  const csr = () => writeTestCsr().toString('base64');
  return { template, order: { token, deviceId, enroll: csr(), renew: csr() } };
}

/** What has to be true once the same requests were made again. */
async function isWhole(data: string, order: DeviceIssuance, { answers }: Life): Promise<void> {
  const { registry, authority, clock, close } = await openStoredAuthority(data);
  const before = (await registry.listCertificates({ kind: 'device', id: deviceId })).map(({ serial }) => serial);
  // What a device holds, the server knows, before anybody asks again.
  for (const answer of answers) expect(before).toContain(answer.split(' ')[1]);

  const again: string[] = [];
  for await (const answer of issueDeviceCertificates({ registry, authority, clock, close }, order, answers))
    again.push(answer);
  // The same requests get the same answers, those included that were recorded and lost.
  expect(again.slice(0, answers.length)).toEqual(answers);
  const after = (await registry.listCertificates({ kind: 'device', id: deviceId })).map(({ serial }) => serial);
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after).toHaveLength(3); // enrolled, renewed, recovered: none twice
  expect((await registry.listTokens()).map(({ uses }) => uses)).toEqual([1]);
  expect(await registry.certificateStatus(after[0] as string)).toMatchObject({ state: 'superseded' });
  expect((await registry.verifyAudit()).fault).toBeUndefined();
  const actions = (await registry.listAudit({ limit: 100 })).map(({ action }) => action);
  for (const once of ['device.enrolled', 'certificate.renewed', 'certificate.recovered']) {
    expect(actions.filter((action) => action === once)).toHaveLength(1);
  }
  expect(actions).not.toContain('certificate.renewal_forked');
  await close();
}

describe('a server that is killed before any statement of enrollment, renewal, first use and recovery', () => {
  it('gives the same requests the same responses, consumes one use, and knows every certificate', async () => {
    const { template, order } = await unborn();
    let finished = 0;
    let step = 0;
    const issueInSequence = async (): Promise<void> => {
      while (finished === 0) {
        step += 1;
        const at = step;
        const data = join(template, '..', `${template.split('/').at(-1)}-${at}`);
        cpSync(template, data, { recursive: true });
        try {
          const life = await live(data, at, order);
          if (life.signal === undefined) finished ||= at;
          await isWhole(data, order, life);
        } finally {
          rmSync(data, { recursive: true, force: true });
        }
      }
    };
    await Promise.all([issueInSequence(), issueInSequence()]);
    expect(finished).toBeGreaterThan(40);
  }, 240_000);
});
