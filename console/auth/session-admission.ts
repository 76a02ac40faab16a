/** Admits the request of an operator who signed in: by its cookie, from a page of this console, with the CSRF token for changes. */

import type { IncomingMessage } from 'node:http';
import { Problem } from '@rollcall/protocol';
import type { Registry } from '../../registry/index.ts';
import type { Admission } from '../access.ts';
import { foreignOrigin } from './same-origin.ts';
import { csrfTokenOf, hasCsrfToken, presentedSession } from './session-cookie.ts';

/** A sign-in is recent for so long. */
const RECENT_MS = 5 * 60_000;

export interface SessionAdmissionOptions {
  readonly registry: Pick<Registry, 'admitOperatorSession'>;
  readonly now: () => number;
}

/** Undefined without the cookie of a live session. Problem `cross_site_refused`, with its reason for the log. */
export async function admitSession(
  request: IncomingMessage,
  address: string,
  { registry, now }: SessionAdmissionOptions,
): Promise<Admission | undefined> {
  const secret = presentedSession(request);
  if (secret === undefined) return undefined;
  const reason = foreignOrigin(request);
  if (reason !== undefined) throw new Problem('cross_site_refused', { reason });
  const session = await registry.admitOperatorSession(secret);
  if (session === undefined) return undefined;
  const isRead = request.method === 'GET' || request.method === 'HEAD';
  if (!isRead && !hasCsrfToken(request, secret)) {
    throw new Problem('cross_site_refused', { reason: 'no or wrong CSRF token' });
  }
  const { id, operator, role, method, authenticatedAt, expiresAt } = session;
  return {
    actor: `operator/${operator}`,
    role,
    origin: { apiKey: undefined, address, session: { id, method } },
    session: {
      id,
      operator,
      method,
      authenticatedAt,
      expiresAt,
      isRecent: authenticatedAt > now() - RECENT_MS,
      csrfToken: csrfTokenOf(secret),
    },
  };
}
