/** What an operator who signed in can see and change of the own account. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { Admission, SignedIn } from '../access.ts';
import { accountEndpoints as endpoints } from '../api/account.ts';
import { addEndpoint } from '../application.ts';
import { isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export function addAccountRoutes(app: FastifyInstance, { registry, signIn }: RoutesOptions): void {
  addEndpoint(app, endpoints.showAccount, async ({ admission }) => {
    const { operator } = expectSession(admission);
    const credentials = await registry.findOperatorCredentials(operator);
    if (credentials === undefined) throw new Problem('operator_required');
    const { role, passwordChangedAt, totp } = credentials;
    return {
      operator,
      role,
      passwordChangedAt: isoTimeIfAny(passwordChangedAt),
      totp:
        totp === undefined ? ('none' as const) : totp.isConfirmed ? ('confirmed' as const) : ('unconfirmed' as const),
      recoveryCodes: await registry.countRecoveryCodes(operator),
    };
  });
  addEndpoint(app, endpoints.changePassword, async ({ body, admission, actor }) => {
    const { operator, id } = expectSession(admission);
    await registry.setOperatorPassword(operator, { hash: await signIn.hash(body.password), exceptSession: id }, actor);
    return {};
  });
}

/** Problem `session_required`, which the access of these routes excludes. */
export function expectSession({ session }: Admission): SignedIn {
  if (session === undefined) throw new Problem('session_required');
  return session;
}
