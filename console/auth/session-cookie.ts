/** The cookie of an operator who signed in, and the CSRF token that belongs to it. The token is computed, not stored. */

import { createHmac, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** A browser accepts the prefix with Secure, without Domain and with this path only, so that no other host can set it. */
const NAME = '__Host-rollcall-session';
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Strict';
const SECRET = /^[A-Za-z0-9_-]{43}$/;
export const CSRF_HEADER = 'x-csrf-token';

export function sessionCookie(secret: string, lifetimeMs: number): string {
  return `${NAME}=${secret}; ${ATTRIBUTES}; Max-Age=${Math.floor(lifetimeMs / 1_000)}`;
}

/** Removes it from the browser. */
export const NO_SESSION_COOKIE = `${NAME}=; ${ATTRIBUTES}; Max-Age=0`;

/** Undefined without a cookie of the right shape, and with more than one. */
export function presentedSession(request: IncomingMessage): string | undefined {
  const secret = readCookie(request, NAME);
  return secret !== undefined && SECRET.test(secret) ? secret : undefined;
}

/** Undefined without the cookie, and with more than one. */
export function readCookie({ headers }: IncomingMessage, name: string): string | undefined {
  const values = (headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  return values.length === 1 ? values[0] : undefined;
}

/** Only a page of this console can read it: other sites can read neither its answers nor the cookie. */
export function csrfTokenOf(secret: string): string {
  return createHmac('sha256', secret).update('csrf').digest('base64url');
}

export function hasCsrfToken({ headers }: IncomingMessage, secret: string): boolean {
  const presented = Buffer.from(String(headers[CSRF_HEADER] ?? ''));
  const expected = Buffer.from(csrfTokenOf(secret));
  return presented.length === expected.length && timingSafeEqual(presented, expected);
}
