/** The options of signing in with an identity provider, and their conversion into what the console needs. */

import { resolve } from 'node:path';
import { Problem } from '@rollcall/protocol';
import { z } from 'zod';
import type { OidcOptions } from '../../console/index.ts';
import { readPrivateFile } from './private-files.ts';
import { readCertificates } from './tls-files.ts';

const claim = z.string().min(1).max(200);
const values = z.array(z.string().min(1).max(500)).max(100);
const path = z.string().max(4_096).prefault('');

const issuer = z.union([
  z.literal(''),
  z.url({ protocol: /^https$/, error: 'expected a URL of https, as the provider names itself' }),
]);

/** With an empty `issuer` operators do not sign in with a provider. */
export function oidcSchema(duration: z.ZodType<number, string>) {
  return z
    .strictObject({
      issuer: issuer.prefault(''),
      clientId: z.string().max(500).prefault(''),
      clientSecretFile: path,
      caFile: path,
      scopes: z.array(claim).max(20).prefault(['openid', 'profile', 'email']),
      nameClaim: claim.prefault('preferred_username'),
      roleClaim: claim.prefault('roles'),
      roles: z
        .strictObject({ viewer: values.prefault([]), operator: values.prefault([]), admin: values.prefault([]) })
        .prefault({}),
      require: z.record(claim, values.min(1)).prefault({}),
      operators: z.enum(['create', 'existing']).prefault('create'),
      session: duration.prefault('8h'),
    })
    .superRefine(({ issuer, clientId, clientSecretFile, scopes, roles }, context) => {
      if (issuer === '') return;
      const expect = (isMet: boolean, key: string, message: string) => {
        if (!isMet) context.addIssue({ code: 'custom', path: [key], message });
      };
      expect(clientId !== '', 'clientId', 'expected the id under which the provider knows this console');
      expect(clientSecretFile !== '', 'clientSecretFile', 'expected a file with the secret of the client');
      expect(scopes.includes('openid'), 'scopes', 'expected openid among them');
      const mapped = Object.values(roles).some((list) => list.length > 0);
      expect(mapped, 'roles', 'expected values of the claim for one role at least');
    });
}

export type OidcConfig = z.output<ReturnType<typeof oidcSchema>>;

/** Undefined without a provider. Problem `config_invalid` or `private_key_exposed`. */
export function oidcSettings({ clientSecretFile, caFile, session, ...rest }: OidcConfig): OidcOptions | undefined {
  if (rest.issuer === '') return undefined;
  const clientSecret = () => readSetting(() => secretIn(clientSecretFile));
  clientSecret();
  const ca = caFile === '' ? undefined : readSetting(() => readCertificates('console.oidc.caFile', caFile).text);
  return { ...rest, clientSecret, sessionMs: session, ca };
}

function secretIn(file: string): string {
  const text = readPrivateFile('console.oidc.clientSecretFile', resolve(file)).trim();
  if (text !== '') return text;
  throw new Problem('config_invalid', { reason: `console.oidc.clientSecretFile: expected text in ${file}` });
}

/** The files are read as those of sinks are; their page is another one. */
function readSetting<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'config_invalid') throw error;
    const hint = 'docs/operators.md explains console.oidc';
    throw new Problem('config_invalid', { ...(error.reason !== undefined && { reason: error.reason }), hint });
  }
}
