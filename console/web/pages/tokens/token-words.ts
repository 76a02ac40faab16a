/** What tokens are called on the pages. */

import type { AnswerOf } from '../../api.ts';
import type { Tone } from '../../parts/badge.tsx';

export type TokenView = AnswerOf<'GET /v1/tokens'>[number];

/** The API calls a revoked token `void`, and one without uses left `spent`. */
export const TOKEN_STATES = {
  usable: ['usable', 'good'],
  spent: ['used up', 'none'],
  expired: ['expired', 'none'],
  void: ['revoked', 'bad'],
} as const satisfies Readonly<Record<TokenView['state'], readonly [text: string, tone: Tone]>>;

const LOOPBACK = /^(?:(?:.+\.)?localhost|127\.[\d.]+|\[::1\])$/i;

/** The URL that a token contains, if it means the machine that uses the token. */
export function loopbackUrlOf(tokenText: string): string | undefined {
  const encoded = tokenText.split('.').at(-1) ?? '';
  const url = atob(encoded.replaceAll('-', '+').replaceAll('_', '/'));
  return LOOPBACK.test(new URL(url).hostname) ? url : undefined;
}
