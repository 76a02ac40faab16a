/** What the claims of an ID token say about its account: who it is here, and with which role. */

import { Problem } from '@rollcall/protocol';
import { OPERATOR_ROLES, type OperatorRole } from '../../../registry/index.ts';
import type { OidcOptions } from './oidc-options.ts';

export type Claims = Readonly<Record<string, unknown>>;

export interface Account {
  readonly subject: string;
  /** Of the operator. */
  readonly name: string;
  readonly role: OperatorRole;
  /** When the provider asked for a password or the like, milliseconds since the epoch. Undefined when it does not say so. */
  readonly authenticatedAt: number | undefined;
}

/** Problem `oidc_no_access` for an account without a role, `oidc_refused` for claims of another shape. */
export function accountOf(claims: Claims, options: OidcOptions): Account {
  const { nameClaim, roleClaim, roles, require } = options;
  const used = [nameClaim, roleClaim, ...Object.keys(require)];
  if (used.includes('email') && claims.email_verified !== true) {
    throw new Problem('oidc_no_access', { reason: 'the claim email is used, and email_verified is not true' });
  }
  for (const [claim, allowed] of Object.entries(require)) {
    if (!valuesOf(claims, claim).some((value) => allowed.includes(value))) {
      throw new Problem('oidc_no_access', { reason: `the claim ${claim} has none of the required values` });
    }
  }
  const held = valuesOf(claims, roleClaim);
  const role = OPERATOR_ROLES.findLast((each) => roles[each].some((value) => held.includes(value)));
  if (role === undefined) {
    throw new Problem('oidc_no_access', { reason: `the claim ${roleClaim} has no value that gives a role` });
  }
  const [name] = valuesOf(claims, nameClaim);
  if (name === undefined) throw new Problem('oidc_refused', { reason: `expected the claim ${nameClaim}, found none` });
  const { sub, auth_time: authTime } = claims;
  return {
    subject: String(sub),
    name: operatorNameOf(name),
    role,
    authenticatedAt: typeof authTime === 'number' ? authTime * 1_000 : undefined,
  };
}

/** The texts of a claim. The whole name has precedence over a path, because names of claims may be URLs. */
function valuesOf(claims: Claims, name: string): readonly string[] {
  const value = Object.hasOwn(claims, name) ? claims[name] : name.split('.').reduce(memberOf, claims as unknown);
  const list = Array.isArray(value) ? value : [value];
  return list.filter((each) => typeof each === 'string' && each !== '') as string[];
}

function memberOf(value: unknown, name: string): unknown {
  const isObject = typeof value === 'object' && value !== null && Object.hasOwn(value, name);
  return isObject ? (value as Record<string, unknown>)[name] : undefined;
}

/**
 * In lower case, with `-` for each character that names of operators do not have. An account is bound to its issuer and subject, so another
 * one with the same name is refused.
 */
function operatorNameOf(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9._-]/g, '-')
    .slice(0, 64);
}
