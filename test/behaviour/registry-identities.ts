/** Accounts at an identity provider: which operator they are, and with which role. */

import { describe, expect, it } from 'vitest';
import type { IdentityOrder } from '../../registry/operators/operator-identities.ts';
import { OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const account = (subject: string, issuer = 'https://id.example') => ({ issuer, subject });
const order = (changes: Partial<IdentityOrder> = {}): IdentityOrder => ({
  ...{ name: 'ada', role: 'viewer', operators: 'create' },
  ...changes,
});

export function identityBehaviour(openFresh: OpenFreshRegistry): void {
  describe('an account at an identity provider', () => {
    it('adds its operator once, and is the same operator under any name, after a restart too', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      const added = await fleet.registry.operatorOfIdentity(account('1'), order());
      expect(added).toMatchObject({ name: 'ada', role: 'viewer', createdBy: 'server/oidc' });
      await fleet.reopen();
      expect(await fleet.registry.operatorOfIdentity(account('1'), order({ name: 'lovelace' }))).toEqual(added);
      expect(await fleet.registry.listOperators()).toHaveLength(1);
    });

    it('is not another account of the same subject, and does not get the name of another operator', async () => {
      const { registry } = await RegistryFixture.open(openFresh);
      await registry.operatorOfIdentity(account('1'), order());
      const taken = { code: 'operator_exists' };
      await expect(registry.operatorOfIdentity(account('2'), order())).rejects.toMatchObject(taken);
      const elsewhere = account('1', 'https://other.example');
      await expect(registry.operatorOfIdentity(elsewhere, order())).rejects.toMatchObject(taken);
      await registry.addOperator({ name: 'grace', role: 'admin' }, OPERATOR);
      await expect(registry.operatorOfIdentity(account('3'), order({ name: 'grace' }))).rejects.toMatchObject(taken);
    });

    it('gives its operator the role of each sign-in, and the audit says so', async () => {
      const fleet = await RegistryFixture.open(openFresh);
      await fleet.registry.operatorOfIdentity(account('1'), order());
      expect(await fleet.registry.operatorOfIdentity(account('1'), order({ role: 'admin' }))).toMatchObject({
        role: 'admin',
      });
      expect(await fleet.audit()).toEqual([
        'operator.added operator/ada done',
        'operator.identity.linked operator/ada done',
        'operator.role.changed operator/ada done',
      ]);
    });

    it('of a disabled operator is refused', async () => {
      const { registry } = await RegistryFixture.open(openFresh);
      await registry.operatorOfIdentity(account('1'), order());
      await registry.disableOperator('ada', OPERATOR);
      await expect(registry.operatorOfIdentity(account('1'), order())).rejects.toMatchObject({
        code: 'operator_disabled',
      });
    });

    it('is linked to an operator that exists only where that is asked for, and to one without an account', async () => {
      const { registry } = await RegistryFixture.open(openFresh);
      const existing = order({ operators: 'existing' });
      await expect(registry.operatorOfIdentity(account('1'), existing)).rejects.toMatchObject({
        code: 'operator_unknown',
      });
      await registry.addOperator({ name: 'ada', role: 'admin' }, OPERATOR);
      expect(await registry.operatorOfIdentity(account('1'), existing)).toMatchObject({ name: 'ada', role: 'viewer' });
      await expect(registry.operatorOfIdentity(account('2'), existing)).rejects.toMatchObject({
        code: 'operator_exists',
      });
    });
  });
}
