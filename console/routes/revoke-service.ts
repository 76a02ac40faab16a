import { formatIdentity, type Identity } from '@rollcall/protocol';
import type { Revocation } from '../../registry/index.ts';
import type { Answer } from '../api/endpoint.ts';
import type { serviceEndpoints } from '../api/services.ts';
import { isoTime } from '../iso-time.ts';
import type { ServerControls } from '../server-controls.ts';

type RevokeAnswer = Answer<typeof serviceEndpoints.revokeService>;

/** Sessions of one holder. */
export const MOST_COUNTED = 10_000;

/** Revokes, waits until the live sessions are closed, and counts them. */
export async function revoke(
  controls: ServerControls,
  holders: readonly Identity[],
  now: () => number,
  act: () => Promise<readonly Revocation[]>,
): Promise<RevokeAnswer> {
  const countSessions = async () => {
    const pages = holders.map((identity) => controls.sessions({ after: '', limit: MOST_COUNTED, identity }));
    return (await Promise.all(pages)).reduce((sum, { sessions }) => sum + sessions.length, 0);
  };
  const before = await countSessions();
  const start = performance.now();
  const revocations = await act();
  const tookMs = Math.round((performance.now() - start) * 1000) / 1000;
  return {
    revocations: revocations.map(viewRevocation),
    revokedAt: isoTime(revocations.reduce((latest, { revokedAt }) => Math.max(latest, revokedAt), 0) || now()),
    sessionsClosed: Math.max(0, before - (await countSessions())),
    tookMs,
  };
}

function viewRevocation(revocation: Revocation): RevokeAnswer['revocations'][number] {
  return {
    identity: formatIdentity(revocation.holder),
    serials: [...revocation.serials],
    reason: revocation.reason,
    revokedAt: isoTime(revocation.revokedAt),
  };
}
