import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeDatedAuthority } from '../../test/fixtures/dated-authority.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { loadConfig } from './config-sources.ts';
import { oidcSettings } from './oidc-config.ts';

const nothing = { file: undefined, environment: {}, flags: [] };

function settingsOf(oidc: string) {
  const file = join(temporaryDirectory(), 'rollcall.yaml');
  writeFileSync(file, `console:\n  oidc:\n    ${oidc.trim().replaceAll('\n', '\n    ')}\n`);
  return oidcSettings(loadConfig({ ...nothing, file }).console.oidc);
}

function secretFile(text = 'secret\n', mode = 0o600): string {
  const file = join(temporaryDirectory(), 'client.secret');
  writeFileSync(file, text, { mode });
  chmodSync(file, mode);
  return file;
}

const whole = (secret: string) => `issuer: https://id.example/realms/fleet
clientId: rollcall
clientSecretFile: ${secret}
roles: { admin: [fleet-admins] }`;

describe('the configuration of an identity provider', () => {
  it('is absent without an issuer', () => {
    expect(oidcSettings(loadConfig(nothing).console.oidc)).toBeUndefined();
  });

  it('has defaults for all that most providers have in common', async () => {
    const caFile = join(temporaryDirectory(), 'ca.pem');
    const { rootPem } = await makeDatedAuthority();
    writeFileSync(caFile, rootPem);
    const found = settingsOf(`${whole(secretFile())}\ncaFile: ${caFile}`);
    expect(found).toMatchObject({
      issuer: 'https://id.example/realms/fleet',
      scopes: ['openid', 'profile', 'email'],
      nameClaim: 'preferred_username',
      roles: { viewer: [], operator: [], admin: ['fleet-admins'] },
      operators: 'create',
      sessionMs: 8 * 3_600_000,
      ca: rootPem,
    });
    expect(found?.clientSecret()).toBe('secret');
  });

  it.each([
    ['an issuer without TLS', () => 'issuer: http://id.example', 'expected a URL of https'],
    ['no client id', () => 'issuer: https://id.example', 'oidc.clientId: expected the id'],
    ['no role', () => whole('x').replace(/roles.*/, ''), 'oidc.roles: expected values'],
    ['no scope openid', () => `${whole('x')}\nscopes: [profile]`, 'oidc.scopes: expected openid'],
    ['a secret that is not there', () => whole('/nowhere/secret'), 'expected a file at /nowhere/secret'],
    ['a secret without text', () => whole(secretFile('\n')), 'clientSecretFile: expected text'],
    ['CAs that are none', () => `${whole(secretFile())}\ncaFile: ${secretFile()}`, 'expected certificates in PEM'],
    ['a secret that others can read', () => whole(secretFile('s', 0o640)), 'found mode 640'],
  ])('is refused with %s', (_, oidc, complaint) => {
    expect(() => settingsOf(oidc())).toThrow(complaint);
  });
});
