/** Signing in with an identity provider with the real program, as docs/operators.md configures it. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { RedirectedBrowser } from '../fixtures/console/redirected-browser.ts';
import { CLIENT_ID, CLIENT_SECRET, startOidcProvider } from '../fixtures/oidc-provider.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

it('a person signs in with the account of the example, and the audit names the operator', async () => {
  const directory = temporaryDirectory();
  const running: RunningServer[] = [];
  const origin = () => `https://localhost:${new URL(running[0]?.ready.consoleUrl ?? '').port}`;
  const provider = await startOidcProvider(() => `${origin()}/v1/sign-in/oidc/callback`);
  const [config, secret, ca] = ['rollcall.yaml', 'secret', 'ca.pem'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  writeFileSync(secret, `${CLIENT_SECRET}\n`, { mode: 0o600 });
  writeFileSync(ca, provider.ca);
  const page = readFileSync(new URL('../../docs/operators.md', import.meta.url), 'utf8');
  const example = /```yaml\n(console:\n {2}oidc:\n[^`]+)```/.exec(page)?.[1] as string;
  const here = example
    .replace('https://id.example.com/realms/fleet', `${provider.issuer}\n    caFile: ${ca}`)
    .replace('/etc/rollcall/oidc.secret', secret);
  expect(here).toContain(`clientId: ${CLIENT_ID}`);
  writeFileSync(config, here);
  const server = await serve(join(directory, 'data'), ['--config', config]);
  running.push(server);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  provider.account = {
    sub: 'f3a1',
    claims: { preferred_username: 'ada', realm_access: { roles: ['offline_access', 'fleet-operators'] } },
  };
  const browser = new RedirectedBrowser({
    origin: origin(),
    ca: `${provider.ca}\n${readFileSync(server.ready.trustBundle, 'utf8')}`,
  });
  expect(await browser.signIn()).toBe('/');
  expect(await browser.operator()).toBe('ada');
  const { stdout } = await rollcall(['operator', 'list', '--json', '--socket', server.ready.socket]);
  expect(JSON.parse(stdout)).toMatchObject([{ name: 'ada', role: 'operator', createdBy: 'server/oidc' }]);
  provider.account = { sub: 'b7', claims: { preferred_username: 'eve', realm_access: { roles: [] } } };
  const stranger = new RedirectedBrowser({
    origin: origin(),
    ca: `${provider.ca}\n${readFileSync(server.ready.trustBundle, 'utf8')}`,
  });
  expect(await stranger.signIn()).toBe('/sign-in?refused=oidc_no_access');
  expect(server.log()).toContain('the claim realm_access.roles has no value that gives a role');
  expect(server.log()).not.toContain(CLIENT_SECRET);
});
