import { pino } from 'pino';
import { expect, it } from 'vitest';
import { ClusterClaims, type ClusterClaimsOptions } from './cluster-claims.ts';

/** Of a node `a` that has `dev-1`, without a database. */
function claimsOf(requests: Partial<ClusterClaimsOptions['requests']>) {
  const written: string[] = [];
  const options = {
    batches: { claim: async () => undefined, nodeOf: async () => undefined },
    requests: { ask: async () => {}, nextNumber: () => 1, withdraw: async () => {}, ...requests },
    nodes: { name: 'a' },
    outbox: { send: () => written.push('answer') },
    commits: { add: ({ name }: { readonly name: string }) => written.push(name), durable: async () => {}, flush() {} },
    adopted: async () => {},
    log: pino({ level: 'silent' }),
  };
  const claims = new ClusterClaims(options as unknown as ClusterClaimsOptions);
  claims.owned(['dev-1']);
  return { claims, written };
}

const request = { clientId: 'dev-1', node: 'b', number: 1 };
const give = async () => () => ({ isStored: false, sequence: 0, from: undefined });

it('a session is not given for a request that was withdrawn while it waited for its turn', async () => {
  const { claims, written } = claimsOf({ isOpen: async () => false });
  const other = Promise.withResolvers<void>();
  const earlier = claims.inTurn('dev-1', () => other.promise);
  const given = claims.handOver(request, give);
  other.resolve();
  await Promise.all([earlier, given]);
  expect(written).toEqual([]);
  expect(claims.has('dev-1')).toBe(true);
});

it('the claim, the end of the request and the answer are written together', async () => {
  const { claims, written } = claimsOf({});
  await claims.handOver(request, give);
  expect(written).toEqual(['moveClaim', 'dropClaimRequest', 'answer']);
  expect(claims.has('dev-1')).toBe(false);
});
