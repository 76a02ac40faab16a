/** A command with the certificate of an operator, against the real program as docs/operators.md configures it. */

import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { makePeopleAuthority } from '../fixtures/operator-certificates.ts';
import { rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('acts over HTTPS as the operator of the certificate, until the CRL names it', async () => {
  const directory = temporaryDirectory();
  const file = (name: string, text: string, mode = 0o644) => {
    const path = join(directory, name);
    writeFileSync(path, text, { mode });
    return path;
  };
  const people = await makePeopleAuthority();
  const ada = await people.issue({ cn: ['Ada'], san: [{ type: 'email', value: 'ada@example.com' }] });
  const [caFile, crlFile] = [file('people-ca.pem', people.ca), file('people-crl.pem', await people.crl([]))];
  const [cert, key] = [file('ada.pem', ada.cert), file('ada.key', ada.key, 0o600)];
  const page = readFileSync(new URL('../../docs/operators.md', import.meta.url), 'utf8');
  const example = /```yaml\n(console:\n {2}clientCertificates:\n[^`]+)```/.exec(page)?.[1] as string;
  const here = example.replace('/etc/rollcall/people-ca.pem', caFile).replace('/etc/rollcall/people-crl.pem', crlFile);
  const server = await serve(join(directory, 'data'), ['--config', file('rollcall.yaml', here)]);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  const { consoleUrl, trustBundle, socket } = server.ready;
  expect((await rollcall(['operator', 'add', 'ada', '--role', 'operator', '--socket', socket])).code).toBe(0);
  const remote = ['--server', consoleUrl, '--server-ca', trustBundle];
  const withCertificate = (...args: string[]) => rollcall([...args, ...remote, '--cert', cert, '--key', key]);

  expect(await withCertificate('token', 'create')).toMatchObject({ code: 0 });
  const audit = await withCertificate('audit', 'list', '--limit', '1');
  expect(audit.stdout).toMatch(new RegExp(` operator/ada +token\\.minted .*certificate=${ada.serial}`));
  const refused = await withCertificate('operator', 'list');
  expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('this needs the role admin')]);

  const environment = { ROLLCALL_CERT_FILE: cert, ROLLCALL_KEY_FILE: key };
  expect(await rollcall(['token', 'list', ...remote], { environment })).toMatchObject({ code: 0 });
  const half = await rollcall(['token', 'list', ...remote, '--cert', cert]);
  expect(half.stderr).toContain('expected --cert FILE and --key FILE, found one of them');
  chmodSync(key, 0o644);
  expect((await withCertificate('token', 'list')).stderr).toContain('found 644');
  chmodSync(key, 0o600);

  writeFileSync(crlFile, await people.crl([ada.serial]));
  await server.untilLogged('CAs and CRL of operator certificates replaced');
  expect(await withCertificate('token', 'list')).toMatchObject({ code: 3 });
  expect(server.log()).toContain('CERT_REVOKED');
});
