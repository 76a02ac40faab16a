/** CAs, and the steps by which they are replaced, in words. */

import type { AnswerOf } from '../../api.ts';
import type { Tone } from '../../parts/badge.tsx';

export type Ca = AnswerOf<'GET /v1/ca'>[number];
export type CaStep = 'activate' | 'taint' | 'retire';

export const STATE_TONES = {
  prepared: 'info',
  active: 'good',
  outgoing: 'warn',
  tainted: 'warn',
  retired: 'none',
} as const satisfies Readonly<Record<Ca['state'], Tone>>;

/** Enough to recognize a CA. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}

/** The steps that the state allows, the next one first. */
export function stepsOf({ role, state }: Ca): readonly CaStep[] {
  if (state === 'prepared') return role === 'issuing' ? ['activate', 'retire'] : ['retire'];
  if (state === 'outgoing') return role === 'issuing' ? ['taint', 'retire'] : ['retire'];
  return state === 'tainted' ? ['retire'] : [];
}

export const STEPS = {
  activate: [
    'Activate',
    'It signs from now on. The listeners of the server get new certificates at once; certificates of the CA before it stay valid.',
  ],
  taint: [
    'Taint',
    'Holders of its certificates are asked to renew, within the budget of the server. Devices are told to refuse servers with a certificate of it.',
  ],
  retire: ['Retire', 'Its certificates are refused from now on, and it leaves the trust bundle. This is final.'],
} as const satisfies Readonly<Record<CaStep, readonly [title: string, meaning: string]>>;
