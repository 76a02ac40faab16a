/** Who is signed in. `undefined` until the server answered, `null` when nobody is. */

import { computed, signal } from '@preact/signals';
import { type AnswerOf, api, connectSession } from './api.ts';

export type Self = AnswerOf<'GET /v1/whoami'>;

export const self = signal<Self | null | undefined>(undefined);
const RANK = { viewer: 0, operator: 1, admin: 2 } as const;
const role = computed(() => self.value?.role ?? 'viewer');

/** Whether the operator may use what needs this role. Read it while rendering: it is a signal's value. */
export function mayAct(needed: keyof typeof RANK = 'operator'): boolean {
  return RANK[role.value] >= RANK[needed];
}

/** Asks the server who this is. */
export async function loadSelf(): Promise<void> {
  try {
    self.value = await api('GET /v1/whoami');
  } catch {
    self.value = null;
  }
}

connectSession({
  csrfToken: () => undefined,
  signedOut: () => {
    self.value = null;
  },
  authenticateAgain: async () => false,
});
