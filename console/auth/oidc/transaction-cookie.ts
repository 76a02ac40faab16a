/**
 * The cookie of a sign-in that is under way at the provider. State, nonce and PKCE verifier are computed from its secret, so that
 * the server stores nothing, and the answer of the provider works in no other browser. SameSite=Lax: the provider sends the browser back.
 */

import { createHmac, randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { parseDecimal } from '@rollcall/protocol';

const NAME = '__Host-rollcall-oidc';
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Lax';
const LIFE_MS = 10 * 60_000;
const VALUE = /^(\d{13})\.([na])\.([A-Za-z0-9_-]{43})$/;

export const NO_TRANSACTION_COOKIE = `${NAME}=; ${ATTRIBUTES}; Max-Age=0`;

export interface OidcTransaction {
  readonly cookie: string;
  readonly state: string;
  readonly nonce: string;
  readonly codeVerifier: string;
  /** The operator has to authenticate anew, also when the provider knows the browser. */
  readonly isAgain: boolean;
}

export function beginTransaction(now: number, isAgain: boolean): OidcTransaction {
  return transactionOf(`${now}.${isAgain ? 'a' : 'n'}.${randomBytes(32).toString('base64url')}`, isAgain);
}

/** Undefined without the cookie of a transaction that began in the last ten minutes. */
export function presentedTransaction({ headers }: IncomingMessage, now: number): OidcTransaction | undefined {
  const values = (headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${NAME}=`))
    .map((pair) => pair.slice(NAME.length + 1));
  const [value = ''] = values;
  const [, time, mode] = VALUE.exec(value) ?? [];
  const begunAt = parseDecimal(time, 0);
  if (values.length !== 1 || begunAt === undefined) return undefined;
  const age = now - begunAt;
  return age >= 0 && age < LIFE_MS ? transactionOf(value, mode === 'a') : undefined;
}

function transactionOf(value: string, isAgain: boolean): OidcTransaction {
  const derived = (purpose: string) => createHmac('sha256', value).update(purpose).digest('base64url');
  return {
    cookie: `${NAME}=${value}; ${ATTRIBUTES}; Max-Age=${LIFE_MS / 1_000}`,
    state: derived('state'),
    nonce: derived('nonce'),
    codeVerifier: derived('code verifier'),
    isAgain,
  };
}
