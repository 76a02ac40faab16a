/** CAs remembered by a test instead of a registry: those of a first start, which never change. */

import type { IssuerMemory, IssuerRecord, NewIssuer } from '../registry/issuers.ts';
import type { PublishedStatusMemory } from '../registry/published-status.ts';

export function memoryOfIssuers(): IssuerMemory & PublishedStatusMemory {
  const records: IssuerRecord[] = [];
  const never = () => Promise.reject(new Error('expected a test with a registry'));
  return {
    listIssuers: async () => [...records],
    addIssuers: async (issuers) => {
      records.push(...issuers.map(asActive));
    },
    activateIssuer: never,
    taintIssuer: never,
    retireIssuer: never,
    countStranded: async () => 0,
    countNotSeenSince: async () => 0,
    countIssued: async () => 0,
    listRevokedBy: async () => [],
    listHeldBy: async () => [],
    certificateStatus: async () => ({ state: 'unknown' }),
  };
}

function asActive(issuer: NewIssuer): IssuerRecord {
  return {
    ...issuer,
    state: 'active',
    preparedAt: 0,
    activatedAt: 0,
    taintedAt: undefined,
    retiredAt: undefined,
  };
}
