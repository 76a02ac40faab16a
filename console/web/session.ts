/**
 * Who is signed in, and the two things that a request can ask of an operator: to sign in, and to authenticate again. The
 * session itself is a cookie that scripts cannot read; its CSRF token is in memory.
 */

import { computed, signal } from '@preact/signals';
import { type AnswerOf, api, connectSession } from './api.ts';

export type Self = AnswerOf<'GET /v1/whoami'>;

/** `undefined` until the server answered, `null` when nobody is signed in. */
export const self = signal<Self | null | undefined>(undefined);
/** A session was there and is not any more: it expired, or was ended elsewhere. */
export const isSessionEnded = signal(false);
/** A request waits until the operator authenticated again, or refused to. */
export const reauthentication = signal<((isAuthenticated: boolean) => void) | undefined>(undefined);

const RANK = { viewer: 0, operator: 1, admin: 2 } as const;
const role = computed(() => self.value?.role ?? 'viewer');

/** Whether the operator may use what needs this role. Read it while rendering: it is a signal's value. */
export function mayAct(needed: keyof typeof RANK = 'operator'): boolean {
  return RANK[role.value] >= RANK[needed];
}

/** Asks the server who this is. Without a session that is no failed request. */
export async function loadSelf(): Promise<void> {
  try {
    const { isAdmitted } = await api('GET /v1/sign-in');
    self.value = isAdmitted ? await api('GET /v1/whoami') : null;
  } catch {
    self.value = null;
  }
}

/** After a sign-in. */
export async function beginSession(): Promise<void> {
  isSessionEnded.value = false;
  self.value = await api('GET /v1/whoami');
}

export async function signOut(): Promise<void> {
  await api('POST /v1/sign-out');
  isSessionEnded.value = false;
  self.value = null;
}

/** After another authentication, with which the session got another CSRF token. */
export function renewSession(csrfToken: string): void {
  const current = self.value;
  if (current !== null && current !== undefined) self.value = { ...current, csrfToken };
}

let waiting: Promise<boolean> | undefined;

/** Requests that ask at the same time wait for one authentication. */
function authenticateAgain(): Promise<boolean> {
  waiting ??= new Promise<boolean>((resolve) => {
    reauthentication.value = resolve;
  }).finally(() => {
    reauthentication.value = undefined;
    waiting = undefined;
  });
  return waiting;
}

connectSession({
  csrfToken: () => self.value?.csrfToken,
  signedOut: () => {
    if (self.value === null || self.value === undefined) return;
    isSessionEnded.value = true;
    self.value = null;
  },
  authenticateAgain,
});
