/** Challenges of the consoles of two nodes: what one made may be answered to the other. */

import { expect, it } from 'vitest';
import { CHALLENGE_LIFE_MS, type ChallengeUse, PasskeyChallenges } from './passkey-challenges.ts';

const SIGN_IN = { purpose: 'sign-in', session: '' } as const;
const BROWSER = 'secret of a browser';

function twoNodes() {
  let time = 1_700_000_000_000;
  const answers: ((order: ChallengeUse) => boolean)[] = [];
  const asked: ChallengeUse[] = [];
  const node = (index: number) =>
    new PasskeyChallenges(() => time, {
      use: async (order) => {
        asked.push(order);
        return answers.some((use, other) => other !== index && use(order));
      },
      answerWith: (use) => {
        answers[index] = use;
      },
    });
  return {
    ...{ a: node(0), b: node(1), asked },
    pass: (milliseconds: number) => {
      time += milliseconds;
    },
  };
}

const made = (by: PasskeyChallenges) => Buffer.from(by.make(SIGN_IN, BROWSER)).toString('base64url');

it('a challenge of one node is used at another, once over all of them, and its browser is not told', async () => {
  const { a, b, asked } = twoNodes();
  const challenge = made(a);
  expect(b.isOpen(challenge, SIGN_IN, BROWSER)).toBe(true);
  expect(await b.use(challenge, SIGN_IN, BROWSER)).toBe(true);
  expect([await b.use(challenge, SIGN_IN, BROWSER), await a.use(challenge, SIGN_IN, BROWSER)]).toEqual([false, false]);
  expect(a.isOpen(challenge, SIGN_IN, BROWSER)).toBe(false);
  expect(JSON.stringify(asked)).not.toContain(BROWSER);

  const own = made(a);
  const before = asked.length;
  expect([await a.use(own, SIGN_IN, BROWSER), asked.length]).toEqual([true, before]);
  expect(await b.use(own, SIGN_IN, BROWSER)).toBe(false);
});

it('a challenge of another browser, for another purpose, of nobody or that has ended is refused at every node', async () => {
  const { a, b, pass } = twoNodes();
  const challenge = made(a);
  for (const node of [a, b]) {
    expect(await node.use(challenge, SIGN_IN, 'another browser')).toBe(false);
    expect(await node.use(challenge, { purpose: 'register', session: '' }, BROWSER)).toBe(false);
    const forged = Buffer.from(challenge, 'base64url');
    forged[0] = (forged[0] as number) ^ 1;
    expect(await node.use(forged.toString('base64url'), SIGN_IN, BROWSER)).toBe(false);
    expect(node.isOpen('short', SIGN_IN, BROWSER)).toBe(false);
  }
  pass(CHALLENGE_LIFE_MS);
  for (const node of [a, b]) {
    expect(node.isOpen(challenge, SIGN_IN, BROWSER)).toBe(false);
    expect(await node.use(challenge, SIGN_IN, BROWSER)).toBe(false);
  }
});
