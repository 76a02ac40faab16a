/** Operators and their API keys: added, admitted, disabled, reset, revoked, expired. */

import { describe, expect, it } from 'vitest';
import { type OperatorAccessEnded, type OperatorRole, runWithOrigin } from '../../registry/index.ts';
import type { OperatorKeyOrder } from '../../registry/operators/operator-keys.ts';
import { DAY, MINUTE, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function operatorBehaviour(openFresh: OpenFreshRegistry): void {
  const opened = async (role: OperatorRole = 'operator') => {
    const fleet = await RegistryFixture.open(openFresh);
    await fleet.registry.addOperator({ name: 'ada', role }, OPERATOR);
    const makeKey = async (order: Partial<OperatorKeyOrder> = {}) => {
      const whole = { operator: 'ada', role: 'viewer', ttlSeconds: 90 * 86_400, ...order } as const;
      const { record, secret } = await fleet.registry.createOperatorKey(whole, OPERATOR);
      return { id: record.id, secret };
    };
    const stateOf = async (id: string) =>
      (await fleet.registry.listOperatorKeys('ada')).find((key) => key.id === id)?.state;
    return { fleet, registry: fleet.registry, makeKey, stateOf };
  };

  describe('operators', () => {
    it('are listed by name, with who added them', async () => {
      const { fleet, registry } = await opened('admin');
      const aaron = await registry.addOperator({ name: 'aaron', role: 'viewer' }, 'operator/ada');
      expect(aaron).toEqual({
        name: 'aaron',
        role: 'viewer',
        state: 'active',
        createdAt: fleet.now,
        createdBy: 'operator/ada',
        disabledAt: undefined,
      });
      expect((await registry.listOperators()).map(({ name }) => name)).toEqual(['aaron', 'ada']);
    });

    it.each(['', 'Ada', '-ada', 'a b', 'a/b', 'a\n', 'a'.repeat(65), 'unix', 'key', 'unknown'])(
      'are not added under the name %j',
      async (name) => {
        const { registry } = await opened();
        await expect(registry.addOperator({ name, role: 'viewer' }, OPERATOR)).rejects.toMatchObject({
          code: 'request_invalid',
        });
      },
    );

    it('are not added twice, also when disabled, because the audit names them', async () => {
      const { registry } = await opened();
      await registry.disableOperator('ada', OPERATOR);
      await expect(registry.addOperator({ name: 'ada', role: 'admin' }, OPERATOR)).rejects.toMatchObject({
        code: 'operator_exists',
      });
    });

    it('that do not exist have no keys, and cannot be disabled or reset', async () => {
      const { registry, makeKey } = await opened();
      const unknown = { code: 'operator_unknown' };
      await expect(makeKey({ operator: 'bob' })).rejects.toMatchObject(unknown);
      await expect(registry.listOperatorKeys('bob')).rejects.toMatchObject(unknown);
      await expect(registry.disableOperator('bob', OPERATOR)).rejects.toMatchObject(unknown);
      await expect(registry.resetOperator('bob', {}, OPERATOR)).rejects.toMatchObject(unknown);
    });
  });

  describe('an API key', () => {
    it('admits its operator with its role, after a restart too', async () => {
      const { fleet, makeKey } = await opened('admin');
      const key = await makeKey({ role: 'operator' });
      expect(key.id).toMatch(/^[0-9a-f]{16}$/);
      expect(Buffer.from(key.secret, 'base64url')).toHaveLength(32);
      await fleet.reopen();
      expect(await fleet.registry.admitOperator(key)).toEqual({
        operator: 'ada',
        role: 'operator',
        keyId: key.id,
        expiresAt: fleet.now + 90 * DAY,
      });
    });

    it('admits nobody with another secret or another id', async () => {
      const { registry, makeKey } = await opened();
      const [one, two] = [await makeKey(), await makeKey()];
      expect(await registry.admitOperator({ id: one.id, secret: two.secret })).toBeUndefined();
      expect(await registry.admitOperator({ id: 'f'.repeat(16), secret: one.secret })).toBeUndefined();
    });

    it('has no role above that of its operator, also when that becomes less', async () => {
      const { registry, makeKey } = await opened('operator');
      await expect(makeKey({ role: 'admin' })).rejects.toMatchObject({ code: 'request_invalid' });
      await registry.resetOperator('ada', { role: 'viewer' }, OPERATOR);
      await expect(makeKey({ role: 'operator' })).rejects.toMatchObject({ code: 'request_invalid' });
      expect(await registry.admitOperator(await makeKey())).toMatchObject({ role: 'viewer' });
    });

    it.each([0, -1, 1.5, Number.NaN, 365 * 86_400 + 1])('is not created for %d seconds', async (ttlSeconds) => {
      const { makeKey } = await opened();
      await expect(makeKey({ ttlSeconds })).rejects.toMatchObject({ code: 'request_invalid' });
    });

    it('is refused from the moment it expires', async () => {
      const { fleet, registry, makeKey, stateOf } = await opened();
      const key = await makeKey({ ttlSeconds: 60 });
      fleet.pass(MINUTE - 1);
      expect(await registry.admitOperator(key)).toBeDefined();
      fleet.pass(1);
      expect([await registry.admitOperator(key), await stateOf(key.id)]).toEqual([undefined, 'expired']);
    });

    it('is refused when it is revoked, and no other key is', async () => {
      const { registry, makeKey, stateOf } = await opened();
      const [one, two] = [await makeKey(), await makeKey()];
      const revoked = await registry.revokeOperatorKey(one.id, OPERATOR);
      expect(await registry.revokeOperatorKey(one.id, OPERATOR)).toEqual(revoked);
      expect([await registry.admitOperator(one), await stateOf(one.id)]).toEqual([undefined, 'revoked']);
      expect(await registry.admitOperator(two)).toBeDefined();
      await expect(registry.revokeOperatorKey('f'.repeat(16), OPERATOR)).rejects.toMatchObject({
        code: 'operator_key_unknown',
      });
    });

    it('is refused while its operator is disabled, and after a reset', async () => {
      const { registry, makeKey, stateOf } = await opened();
      const key = await makeKey();
      await registry.disableOperator('ada', OPERATOR);
      expect([await registry.admitOperator(key), await stateOf(key.id)]).toEqual([undefined, 'disabled']);
      await expect(makeKey()).rejects.toMatchObject({ code: 'operator_disabled' });
      expect(await registry.resetOperator('ada', {}, OPERATOR)).toMatchObject({ state: 'active', role: 'operator' });
      expect([await registry.admitOperator(key), await stateOf(key.id)]).toEqual([undefined, 'revoked']);
      expect(await registry.admitOperator(await makeKey())).toBeDefined();
    });

    it('has its last use recorded, at most once a minute', async () => {
      const { fleet, registry, makeKey } = await opened();
      const key = await makeKey();
      const lastUse = async () => (await registry.listOperatorKeys('ada'))[0]?.lastUsedAt;
      expect(await lastUse()).toBeUndefined();
      await registry.admitOperator(key);
      const first = fleet.now;
      fleet.pass(MINUTE - 1);
      await registry.admitOperator(key);
      expect(await lastUse()).toBe(first);
      fleet.pass(1);
      await registry.admitOperator(key);
      expect(await lastUse()).toBe(first + MINUTE);
      await registry.admitOperator({ ...key, secret: 'wrong' });
    });

    it('is one of at most a hundred usable ones of its operator', async () => {
      const { registry, makeKey } = await opened();
      const first = await makeKey();
      for (let n = 1; n < 100; n += 1) await makeKey();
      await expect(makeKey()).rejects.toMatchObject({ code: 'request_invalid' });
      await registry.revokeOperatorKey(first.id, OPERATOR);
      await makeKey();
    });

    it('is listed among what expires, until it is revoked or its operator is disabled', async () => {
      const { fleet, registry, makeKey } = await opened();
      const [one, two] = [await makeKey({ ttlSeconds: 60 }), await makeKey({ ttlSeconds: 120 })];
      const until = fleet.now + DAY;
      const listed = async () => {
        const filter = { which: 'ending', until, kinds: ['operator-key'], limit: 10 } as const;
        const found = await registry.listExpiring(filter);
        expect(await registry.countExpiring('operator-key', [until])).toEqual([found.length]);
        return found.map(({ name, id }) => `${name} ${id}`);
      };
      expect(await listed()).toEqual([`ada ${one.id}`, `ada ${two.id}`]);
      await registry.revokeOperatorKey(one.id, OPERATOR);
      expect(await listed()).toEqual([`ada ${two.id}`]);
      await registry.disableOperator('ada', OPERATOR);
      expect(await listed()).toEqual([]);
    });
  });

  it('announces whose access ended, after the commit', async () => {
    const { registry, makeKey } = await opened();
    const key = await makeKey();
    const ended: (OperatorAccessEnded & { readonly admitted: boolean })[] = [];
    const stop = registry.onOperatorAccessEnded((event) => {
      void registry.admitOperator(key).then((found) => ended.push({ ...event, admitted: found !== undefined }));
    });
    await registry.revokeOperatorKey(key.id, OPERATOR);
    await registry.disableOperator('ada', OPERATOR);
    await registry.resetOperator('ada', {}, OPERATOR);
    stop();
    await registry.disableOperator('ada', OPERATOR);
    expect(ended).toEqual([
      { operator: 'ada', keyId: key.id, admitted: false },
      { operator: 'ada', admitted: false },
      { operator: 'ada', admitted: false },
    ]);
  });

  it('has every change of an operator in the audit, without a secret', async () => {
    const { fleet, registry, makeKey } = await opened();
    const key = await makeKey();
    await registry.revokeOperatorKey(key.id, OPERATOR);
    await registry.disableOperator('ada', OPERATOR);
    await registry.disableOperator('ada', OPERATOR);
    await registry.resetOperator('ada', { role: 'viewer' }, OPERATOR);
    expect(await fleet.audit()).toEqual([
      'operator.added operator/ada done',
      'operator.key.created operator/ada done',
      'operator.key.revoked operator/ada done',
      'operator.disabled operator/ada done',
      'operator.reset operator/ada done',
    ]);
    const text = JSON.stringify(await registry.listAudit({ limit: 10 }));
    expect(text).toContain(key.id);
    expect(text).not.toContain(key.secret);
  });

  it('writes the key and the address of a request into the audit entries of its operator, and into no others', async () => {
    const { fleet, registry } = await opened();
    await runWithOrigin({ apiKey: 'ab12', address: '192.0.2.9' }, async () => {
      await Promise.resolve();
      await registry.disableOperator('ada', 'operator/ada');
      await registry.recordAction({ actor: 'server/x', action: 'test.done', subject: 'test/x', outcome: 'done' });
    });
    await fleet.mint();
    const details = (await registry.listAudit({ limit: 3 })).map((entry) => entry.details);
    expect(details[2]).toEqual({ apiKey: 'ab12', fromAddress: '192.0.2.9' });
    expect(details[1]).toEqual({});
    expect(details[0]).not.toHaveProperty('apiKey');
    expect(await registry.verifyAudit()).toMatchObject({ fault: undefined });
  });
}
