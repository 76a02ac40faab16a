/** States of a bootstrap token: created, used, consumed, expired, revoked. */

import { describe, expect, it } from 'vitest';
import type { TokenRequest } from '../../registry/tokens/tokens.ts';
import { DAY, device, MINUTE, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

export function tokenBehaviour(openFresh: OpenFreshRegistry): void {
  describe('bootstrap tokens', () => {
    it('are created with a public id and a secret of 160 bits, no two alike', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const [one, two] = [await fleet.mint(), await fleet.mint()];
      expect(one.record.id).toMatch(/^[0-9a-f]{16}$/);
      expect(Buffer.from(one.secret, 'base64url')).toHaveLength(20);
      expect(one.secret).not.toBe(two.secret);
      expect(one.record.id).not.toBe(two.record.id);
    });

    it('are listed with what they allow, oldest first', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const first = await fleet.mint({ maxUses: 3, ttlSeconds: 60, labels: { site: 'north' } });
      fleet.pass(1);
      const second = await fleet.mint({ device: device('pump-1') });
      expect(await fleet.registry.listTokens()).toEqual([first.record, second.record]);
      expect(first.record).toMatchObject({
        maxUses: 3,
        uses: 0,
        labels: { site: 'north' },
        device: undefined,
        createdBy: OPERATOR,
        expiresAt: first.record.createdAt + MINUTE,
        revokedAt: undefined,
        state: 'usable',
      });
      expect(second.record).toMatchObject({ device: 'pump-1', maxUses: 1 });
    });

    const labels = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`label${i}`, 'x']));

    it.each<[string, Partial<TokenRequest>]>([
      ['the most uses', { maxUses: 1_000_000 }],
      ['the shortest life', { ttlSeconds: 1 }],
      ['the longest life', { ttlSeconds: 30 * 24 * 3600 }],
      ['the most labels', { labels: labels(32) }],
      ['the longest label', { labels: { [`a${'b'.repeat(31)}`]: 'x'.repeat(64) } }],
      ['a label named like a property of every object', { labels: { constructor: 'x' } }],
    ])('can be created with %s', async (_, order) => {
      const fleet = await RegistryFixture.open(openFresh);
      const { ttlSeconds = 3600, ...allowed } = order;
      expect((await fleet.mint(order)).record).toMatchObject({ ...allowed, expiresAt: fleet.now + ttlSeconds * 1000 });
    });

    it.each<[string, Partial<TokenRequest>]>([
      ['no use', { maxUses: 0 }],
      ['one use too many', { maxUses: 1_000_001 }],
      ['half a use', { maxUses: 1.5 }],
      ['no life', { ttlSeconds: 0 }],
      ['a life too long', { ttlSeconds: 30 * 24 * 3600 + 1 }],
      ['a life that is not a number', { ttlSeconds: Number.NaN }],
      ['two uses for one named device', { device: device('pump-1'), maxUses: 2 }],
      ['33 labels', { labels: labels(33) }],
      ['a label name too long', { labels: { ['a'.repeat(33)]: 'x' } }],
      ['a label name with a hyphen', { labels: { 'a-b': 'x' } }],
      ['a label without a value', { labels: { site: '' } }],
      ['a label with a wildcard', { labels: { site: '+' } }],
      ['a label with two levels', { labels: { site: 'a/b' } }],
      ['a label that ends a line', { labels: { site: 'a\n' } }],
      ['a label too long', { labels: { site: 'x'.repeat(65) } }],
    ])('are not created with %s', async (_, order) => {
      const fleet = await RegistryFixture.open(openFresh);
      await expect(fleet.mint(order)).rejects.toMatchObject({ code: 'token_order_invalid' });
      expect(await fleet.registry.listTokens()).toEqual([]);
      expect(await fleet.audit()).toEqual([]);
    });

    it('enroll exactly as many devices as they have uses', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ maxUses: 2 });
      await fleet.enroll('pump-1', { token });
      await fleet.enroll('pump-2', { token });
      expect(await fleet.tryEnroll({ token, id: 'pump-3', key: 'third' })).toEqual({
        outcome: 'refused',
        refusal: 'spent',
      });
      expect(await fleet.registry.listTokens()).toMatchObject([{ uses: 2, state: 'spent' }]);
      expect(await fleet.registry.listDevices({ limit: 10 })).toHaveLength(2);
    });

    it('enroll no device from the moment they expire', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint({ ttlSeconds: 60, maxUses: 2 });
      fleet.pass(MINUTE - 1);
      await fleet.enroll('pump-1', { token });
      fleet.pass(1);
      const claim = fleet.claim({ token, id: 'pump-2', key: 'other' });
      const refused = { outcome: 'refused', refusal: 'expired' };
      expect(await fleet.registry.admitEnrollment(claim)).toEqual(refused);
      expect(await fleet.registry.commitEnrollment(claim)).toEqual(refused);
      expect(await fleet.registry.listTokens()).toMatchObject([{ state: 'expired', uses: 1 }]);
    });

    it('enroll no device once they are revoked, and are revoked once', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint();
      const voided = await fleet.registry.revokeToken(token.record.id, OPERATOR);
      expect(voided).toMatchObject({ state: 'void', revokedAt: fleet.now });
      fleet.pass(1);
      expect(await fleet.registry.revokeToken(token.record.id, OPERATOR)).toEqual(voided);
      expect(await fleet.registry.revokeToken('0000000000000000', OPERATOR)).toBeUndefined();
      expect(await fleet.tryEnroll({ token, id: 'pump-1', key: 'k' })).toEqual({ outcome: 'refused', refusal: 'void' });
      expect((await fleet.audit()).filter((line) => line.startsWith('token.voided'))).toHaveLength(1);
    });

    const loadTest = { from: ['10.0.0.5', '2001:db8::/64'], perSecond: 200 };

    it('list their load tests until they are revoked or expire, used up or not', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const [first, second] = [
        await fleet.mint({ loadTest, ttlSeconds: 120 }),
        await fleet.mint({ loadTest, ttlSeconds: 60, labels: { simulated: 'run-1' } }),
      ];
      await fleet.mint();
      await fleet.enroll('pump-1', { token: second });
      const listed = async () => (await fleet.registry.listLoadTests()).map(({ id, loadTest }) => ({ id, loadTest }));
      expect(await listed()).toEqual([second, first].map(({ record }) => ({ id: record.id, loadTest })));
      fleet.pass(MINUTE);
      expect(await listed()).toEqual([{ id: first.record.id, loadTest }]);
      await fleet.registry.revokeToken(first.record.id, OPERATOR);
      expect(await listed()).toEqual([]);
      expect(
        (await fleet.registry.listAudit({ subject: `token/${first.record.id}`, limit: 2 })).at(-1)?.details,
      ).toMatchObject({
        loadTestFrom: '10.0.0.5 2001:db8::/64',
        loadTestPerSecond: 200,
      });
    });

    it.each<[string, Partial<TokenRequest>]>([
      ['of more than a day', { loadTest, ttlSeconds: 86_401 }],
      ['without an address', { loadTest: { ...loadTest, from: [] } }],
      ['of 17 addresses', { loadTest: { ...loadTest, from: Array.from({ length: 17 }, () => '10.0.0.5') } }],
      ['of a name', { loadTest: { ...loadTest, from: ['localhost'] } }],
      ['of every address', { loadTest: { ...loadTest, from: ['0.0.0.0/0'] } }],
      ['of a network larger than /16', { loadTest: { ...loadTest, from: ['10.0.0.0/15'] } }],
      ['of an IPv6 network larger than /48', { loadTest: { ...loadTest, from: ['2001:db8::/47'] } }],
      ['without a bound', { loadTest: { ...loadTest, perSecond: 0 } }],
      ['with a bound too high', { loadTest: { ...loadTest, perSecond: 10_001 } }],
    ])('are not created for a load test %s', async (_, order) => {
      const fleet = await RegistryFixture.open(openFresh);
      await expect(fleet.mint(order)).rejects.toMatchObject({ code: 'token_order_invalid' });
      expect(await fleet.registry.listLoadTests()).toEqual([]);
    });

    it('are refused without their secret, and with an unknown id', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const [token, other] = [await fleet.mint(), await fleet.mint()];
      const claim = fleet.claim({ token, id: 'pump-1', key: 'k' });
      const wrong = { outcome: 'refused', refusal: 'wrong_secret' };
      for (const secret of [other.secret, '', token.secret.slice(1), `${token.secret} `]) {
        expect(await fleet.registry.commitEnrollment({ ...claim, secret })).toEqual(wrong);
        expect(await fleet.registry.admitEnrollment({ ...claim, secret })).toEqual(wrong);
      }
      const unknown = { ...claim, tokenId: '00000000deadbeef' };
      expect(await fleet.registry.commitEnrollment(unknown)).toEqual({ outcome: 'refused', refusal: 'unknown_token' });
      expect(await fleet.registry.commitEnrollment(claim)).toMatchObject({ outcome: 'enrolled' });
    });

    it('are reported as revoked rather than as consumed or expired', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const token = await fleet.mint();
      await fleet.enroll('pump-1', { token });
      fleet.pass(31 * DAY);
      expect(await fleet.registry.listTokens()).toMatchObject([{ state: 'spent' }]);
      await fleet.registry.revokeToken(token.record.id, OPERATOR);
      expect(await fleet.registry.listTokens()).toMatchObject([{ state: 'void' }]);
    });
  });
}
