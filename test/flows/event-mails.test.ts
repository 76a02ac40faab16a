/** The mail sink of docs/sinks.md with the real program: an operator gets one message about what happened, and no other event. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { enrollOnce, memoryIdentityStore } from '@rollcall/device-sdk';
import { expect, it } from 'vitest';
import { makeDatedAuthority } from '../fixtures/dated-authority.ts';
import { startMailServer } from '../fixtures/mail-server.ts';
import { openMqtt } from '../fixtures/mqtt.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('a revocation is mailed to the operators over TLS with a login', async () => {
  const directory = temporaryDirectory();
  const ca = await makeDatedAuthority('CN=mail');
  const { certificatePem: cert, keyPem: key } = await ca.server(Date.UTC(2020, 0), Date.UTC(2090, 0), [
    { type: 'ip', value: '127.0.0.1' },
  ]);
  const mail = await startMailServer({
    ...{ key, cert, authOptional: false },
    onAuth: ({ password }, _, done) =>
      password === 'pass of mail' ? done(null, { user: 'u' }) : done(new Error('no')),
  });
  const [config, password, caFile] = ['rollcall.yaml', 'password', 'ca.pem'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(password, 'pass of mail\n', { mode: 0o600 });
  writeFileSync(caFile, ca.rootPem);
  const page = readFileSync(new URL('../../docs/sinks.md', import.meta.url), 'utf8');
  const example = /```yaml\n(sinks:\n {2}- name: alerts\n[^`]+)```/.exec(page)?.[1] as string;
  const here = example
    .replace('smtp://mail.example.com:587', `smtp://127.0.0.1:${mail.port}`)
    .replace('/etc/rollcall/mail.password', `${password}\n    caFile: ${caFile}\n    batch: { linger: 50ms }`);
  writeFileSync(config, here);

  const server = await serve(join(directory, 'data'), ['--config', config]);
  const run = (...args: string[]) => rollcall([...args, '--socket', server.ready.socket]);
  const token = (await run('token', 'create')).stdout.trim();
  const identity = await enrollOnce(memoryIdentityStore(), { token, deviceId: 'dev-1' });
  await (await openMqtt(identity)).endAsync();
  expect((await run('device', 'revoke', 'dev-1', '--reason', 'keyCompromise')).code).toBe(0);
  const { text, to } = await mail.untilMail('Subject: [rollcall]');
  expect(to).toEqual(['ops@example.com']);
  expect(text).toMatch(/Subject: \[rollcall\] cert\.revoked \(1\)/);
  expect(text).toMatch(/ cert\.revoked dev-1\r\n {4}\{"actor":"operator\/unix"/);
  expect(text).not.toContain('presence.');
  await server.end('SIGTERM');
  expect(mail.mails).toHaveLength(1);
  expect(server.log()).not.toContain('pass of mail');
});
