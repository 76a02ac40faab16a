import { pino } from 'pino';
import { afterEach, expect, it, vi } from 'vitest';
import type { Claimant } from '../keeper/sessions.ts';
import { ClusterClaims, type ClusterClaimsOptions, type HandedOver } from './cluster-claims.ts';

afterEach(() => void vi.useRealTimers());

/** Of a node `a` that has `dev-1`, without a database. */
function claimsOf(
  requests: Partial<ClusterClaimsOptions['requests']>,
  claim: ClusterClaimsOptions['batches']['claim'] = async () => undefined,
) {
  const written: string[] = [];
  const options = {
    batches: { claim, nodeOf: async () => undefined },
    requests: { ask: async () => {}, nextNumber: () => 1, withdraw: async () => {}, ...requests },
    nodes: { name: 'a', find: (name: string) => ({ name, isAlive: true }) },
    outbox: { send: () => written.push('answer') },
    commits: { add: ({ name }: { readonly name: string }) => written.push(name), durable: async () => {}, flush() {} },
    adopted: async () => {},
    arriving() {},
    load: async () => async () => {},
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

const answer: HandedOver = {
  ...{ kind: 'handed over', clientId: 'dev-2', request: 1, isGiven: true },
  ...{ isStored: false, sequence: 7, from: undefined },
};
const ofOther = async () => ({ node: 'b', isNew: false });

/** A node that asks `b` for `dev-2`; `asked` and `withdrawn` resolve when it does. */
function asking(claim = ofOther) {
  const [asked, withdrawn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const made = claimsOf({ ask: async () => asked.resolve(), withdraw: async () => withdrawn.resolve() }, claim);
  return { ...made, asked: asked.promise, withdrawn: withdrawn.promise };
}

it('a connection that has ended while it waited for its turn asks no other node for the session', async () => {
  const ask = vi.fn(async () => {});
  const { claims } = claimsOf({ ask }, ofOther);
  const other = Promise.withResolvers<void>();
  const earlier = claims.inTurn('dev-2', () => other.promise);
  const claimant = { isGivenUp: false, onGivenUp: undefined };
  const owned = claims.own('dev-2', claimant);
  claimant.isGivenUp = true;
  other.resolve();
  await earlier;
  await expect(owned).rejects.toMatchObject({ code: 'unavailable' });
  expect(ask).not.toHaveBeenCalled();
});

it('a request is withdrawn at once when the connection that waits for the answer has ended', async () => {
  const { claims, asked, withdrawn } = asking();
  const claimant = { isGivenUp: false } as { -readonly [Key in keyof Claimant]: Claimant[Key] };
  const owned = claims.own('dev-2', claimant);
  await asked;
  claimant.isGivenUp = true;
  claimant.onGivenUp?.();
  await expect(owned).rejects.toMatchObject({ code: 'unavailable' });
  await withdrawn;
  expect(claims.has('dev-2')).toBe(false);
});

it('a session that is given for a connection that has ended is the one of the next connection', async () => {
  const looked = Promise.withResolvers<void>();
  const found = Promise.withResolvers<{ readonly node: string; readonly isNew: boolean }>();
  let looks = 0;
  const { claims, written, asked } = asking(() => {
    looks += 1;
    if (looks === 2) looked.resolve();
    return looks === 1 ? ofOther() : found.promise;
  });
  const claimant = { isGivenUp: false } as { -readonly [Key in keyof Claimant]: Claimant[Key] };
  const first = claims.own('dev-2', claimant);
  await asked;
  claimant.isGivenUp = true;
  claimant.onGivenUp?.();
  await expect(first).rejects.toMatchObject({ code: 'unavailable' });
  const second = claims.own('dev-2');
  await looked.promise;
  claims.received(answer); // While the next connection looks for the claim.
  found.resolve({ node: 'a', isNew: false });
  await second;
  await claims.inTurn('dev-2', async () => {}); // What the answer has caused is done.
  expect(claims.has('dev-2')).toBe(true);
  expect(written).toEqual([]); // The claim was not dropped.
});

it('what the former node says of its connection is known, also when it answers after it was asked again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  let looks = 0;
  const found = Promise.withResolvers<{ readonly node: string; readonly isNew: boolean }>();
  const looked = Promise.withResolvers<void>();
  const { claims, asked } = asking(() => {
    looks += 1;
    if (looks === 2) looked.resolve();
    return looks === 1 ? ofOther() : found.promise;
  });
  const owned = claims.own('dev-2');
  await asked;
  await vi.runAllTimersAsync();
  await looked.promise;
  claims.received(answer);
  found.resolve({ node: 'a', isNew: false });
  expect(await owned).toMatchObject({ sequence: 7 });
});
