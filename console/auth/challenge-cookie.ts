/** The cookie that binds a challenge for a passkey to the browser that asked for it. */

import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { readCookie } from './session-cookie.ts';

const NAME = '__Host-rollcall-challenge';
const SECRET = /^[A-Za-z0-9_-]{43}$/;

export interface ChallengeCookie {
  readonly secret: string;
  /** For `set-cookie`. */
  readonly header: string;
}

export function makeChallengeCookie(lifeMs: number): ChallengeCookie {
  const secret = randomBytes(32).toString('base64url');
  const seconds = Math.floor(lifeMs / 1_000);
  return { secret, header: `${NAME}=${secret}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=${seconds}` };
}

/** Undefined without one of the right shape. */
export function presentedChallengeSecret(request: IncomingMessage): string | undefined {
  const secret = readCookie(request, NAME);
  return secret !== undefined && SECRET.test(secret) ? secret : undefined;
}
