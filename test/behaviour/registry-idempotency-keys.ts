/** Acts under idempotency keys: begun once, found again, forgotten after a day. */

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Actor } from '../../registry/index.ts';
import { DAY, MINUTE, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest();

function act(key: string, request = 'a request', operator: Actor = 'operator/ada') {
  return { operator, keyHash: sha256(key), fingerprint: sha256(request) };
}

export function idempotencyKeyBehaviour(openFresh: OpenFreshRegistry): void {
  describe('an act under an idempotency key', () => {
    it('is found again with its request, while it runs and when it ended, after a restart too', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const begunAt = fleet.now;
      expect(await fleet.registry.beginAct(act('k'))).toBeUndefined();
      fleet.pass(MINUTE);
      const running = await fleet.registry.beginAct(act('k', 'another request'));
      expect(running).toMatchObject({ begunAt, ended: undefined });
      expect(Buffer.from(running?.fingerprint ?? [])).toEqual(sha256('a request'));
      await fleet.registry.endAct(act('k'), 504);
      await fleet.reopen();
      expect(await fleet.registry.beginAct(act('k'))).toMatchObject({ begunAt, ended: { at: fleet.now, status: 504 } });
    });

    it('is one of its operator: the same key of another operator is another act', async () => {
      const { registry } = await RegistryFixture.open(openFresh);
      expect(await registry.beginAct(act('k'))).toBeUndefined();
      expect(await registry.beginAct(act('k', 'a request', 'operator/bob'))).toBeUndefined();
      await registry.forgetAct(act('k', 'a request', 'operator/bob'));
      expect(await registry.beginAct(act('k'))).toBeDefined();
    });

    it('begins once when it is asked for several times at once', async () => {
      const { registry } = await RegistryFixture.open(openFresh);
      const found = await Promise.all(Array.from({ length: 8 }, () => registry.beginAct(act('k'))));
      expect(found.filter((recorded) => recorded === undefined)).toHaveLength(1);
    });

    it('leaves its key free when it was refused, and after 24 hours', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.beginAct(act('refused'));
      await fleet.registry.forgetAct(act('refused'));
      expect(await fleet.registry.beginAct(act('refused'))).toBeUndefined();
      await fleet.registry.endAct(act('refused'), 200);
      fleet.pass(DAY - 1);
      expect(await fleet.registry.beginAct(act('refused'))).toBeDefined();
      fleet.pass(1);
      expect(await fleet.registry.beginAct(act('refused'))).toBeUndefined();
    });
  });
}
