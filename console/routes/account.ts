/** What an operator who signed in can see and change of the own account. */

import { randomBytes } from 'node:crypto';
import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { Actor } from '../../registry/index.ts';
import { expectSession } from '../access.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { accountEndpoints as endpoints } from '../api/account.ts';
import { canonicalRecoveryCode, makeRecoveryCodes } from '../auth/recovery-codes.ts';
import { TOTP_SECRET_BYTES, totpEnrollment, totpStep } from '../auth/totp.ts';
import { isoTimeIfAny } from '../iso-time.ts';
import { viewPasskey } from './passkeys.ts';
import type { RoutesOptions } from './routes.ts';

export function addAccountRoutes(app: FastifyInstance, { registry, signIn, now }: RoutesOptions): void {
  const newRecoveryCodes = async (operator: string, actor: Actor) => {
    const codes = makeRecoveryCodes();
    await registry.setRecoveryCodes(operator, codes.map(canonicalRecoveryCode), actor);
    return { recoveryCodes: [...codes] };
  };

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
      passkeys: (await registry.listPasskeys(operator)).map(viewPasskey),
    };
  });
  addEndpoint(app, endpoints.changePassword, async ({ body, admission, actor }) => {
    const { operator, id } = expectSession(admission);
    await registry.setOperatorPassword(operator, { hash: await signIn.hash(body.password), exceptSession: id }, actor);
    return {};
  });
  addEndpoint(app, endpoints.beginTotp, async ({ admission, reply }) => {
    const { operator } = expectSession(admission);
    const secret = randomBytes(TOTP_SECRET_BYTES);
    await registry.beginTotp(operator, secret);
    return totpEnrollment(secret, operator, reply.request.headers.host ?? 'console');
  });
  addEndpoint(app, endpoints.confirmTotp, async ({ body, admission, actor }) => {
    const { operator } = expectSession(admission);
    const totp = await registry.findTotp(operator);
    if (totp === undefined || totp.isConfirmed) throw new Problem('totp_unknown');
    const step = totpStep(totp.secret, body.code.replaceAll(' ', ''), now());
    if (step === undefined || !(await registry.confirmTotp(operator, step, actor))) throw new Problem('code_refused');
    return newRecoveryCodes(operator, actor);
  });
  addEndpoint(app, endpoints.removeTotp, async ({ admission, actor }) => {
    await registry.removeTotp(expectSession(admission).operator, actor);
    return {};
  });
  addEndpoint(app, endpoints.renewRecoveryCodes, async ({ admission, actor }) => {
    const { operator } = expectSession(admission);
    if (!(await registry.findTotp(operator))?.isConfirmed) throw new Problem('totp_unknown');
    return newRecoveryCodes(operator, actor);
  });
}
