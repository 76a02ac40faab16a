/** How operators sign in: passwords, second factors, passkeys, links and the sessions that follow. */

import { describe, expect, it } from 'vitest';
import type { OperatorAccessEnded, SecondFactor } from '../../registry/index.ts';
import { DAY, MINUTE, OPERATOR, type OpenFreshRegistry, RegistryFixture } from './registry-fixture.ts';

const HOUR = 60 * MINUTE;
const CLIENT = { address: '192.0.2.9', userAgent: 'Browser 1', idleMs: 8 * HOUR, lifetimeMs: 7 * DAY };
const HASH = 'scrypt$1024$8$1$c2FsdA$aGFzaA';

export function signInBehaviour(openFresh: OpenFreshRegistry): void {
  const opened = async () => {
    const fleet = await RegistryFixture.open(openFresh);
    const { registry } = fleet;
    await registry.addOperator({ name: 'ada', role: 'operator' }, OPERATOR);
    const begin = async (operator = 'ada', secondFactor?: SecondFactor) => {
      const order = { operator, method: 'password', ...CLIENT, ...(secondFactor !== undefined && { secondFactor }) };
      return registry.beginOperatorSession(order);
    };
    const begun = async (operator = 'ada') => {
      const session = await begin(operator);
      if (session === undefined) throw new Error('expected a session');
      return session;
    };
    return { fleet, registry, begin, begun };
  };

  describe('a session of an operator', () => {
    it('admits its operator with its role, after a restart too, and is no secret in the registry', async () => {
      const { fleet, begun } = await opened();
      const { record, secret } = await begun();
      expect(Buffer.from(secret, 'base64url')).toHaveLength(32);
      await fleet.reopen();
      expect(await fleet.registry.admitOperatorSession(secret)).toEqual({ ...record, role: 'operator' });
      expect(record).toMatchObject({
        operator: 'ada',
        method: 'password',
        address: '192.0.2.9',
        userAgent: 'Browser 1',
      });
      expect(await fleet.registry.admitOperatorSession(`${secret.slice(0, -2)}AA`)).toBeUndefined();
      expect(await fleet.registry.admitOperatorSession(record.id)).toBeUndefined();
    });

    it('ends without requests, and at its end in any case', async () => {
      const { fleet, registry, begun } = await opened();
      const { secret } = await begun();
      fleet.pass(8 * HOUR - 1);
      expect(await registry.admitOperatorSession(secret)).toBeDefined();
      fleet.pass(8 * HOUR);
      expect([await registry.admitOperatorSession(secret), await registry.listOperatorSessions()]).toEqual([
        undefined,
        [],
      ]);
      const { secret: busy } = await begun();
      for (let at = 0; at < 7 * DAY - 7 * HOUR; at += 7 * HOUR) {
        fleet.pass(7 * HOUR);
        expect(await registry.admitOperatorSession(busy)).toBeDefined();
      }
      fleet.pass(7 * HOUR);
      expect(await registry.admitOperatorSession(busy)).toBeUndefined();
    });

    it('ends alone, or with all others of its operator', async () => {
      const { registry, begun } = await opened();
      const [one, two, three] = [await begun(), await begun(), await begun()];
      await registry.endOperatorSession(one.record.id, 'operator/ada');
      await expect(registry.endOperatorSession(one.record.id, OPERATOR)).rejects.toMatchObject({
        code: 'session_unknown',
      });
      await registry.setOperatorPassword('ada', { hash: HASH, exceptSession: two.record.id }, 'operator/ada');
      expect((await registry.listOperatorSessions('ada')).map(({ id }) => id)).toEqual([two.record.id]);
      await registry.disableOperator('ada', OPERATOR);
      for (const { secret } of [one, two, three]) expect(await registry.admitOperatorSession(secret)).toBeUndefined();
      await expect(begun()).rejects.toMatchObject({ code: 'operator_disabled' });
      await registry.resetOperator('ada', {}, OPERATOR);
      expect(await registry.admitOperatorSession(two.secret)).toBeUndefined();
    });

    it('has another secret after its operator authenticated again; the former one is not recent, and ends', async () => {
      const { fleet, registry, begun } = await opened();
      const { record, secret } = await begun();
      fleet.pass(HOUR);
      const renewed = await registry.renewOperatorSession(record.id, { method: 'password' });
      expect(renewed?.record).toMatchObject({ id: record.id, authenticatedAt: fleet.now, createdAt: record.createdAt });
      expect(await registry.admitOperatorSession(renewed?.secret ?? '')).toMatchObject({ authenticatedAt: fleet.now });
      expect(await registry.admitOperatorSession(secret)).toMatchObject({ id: record.id, authenticatedAt: 0 });
      fleet.pass(MINUTE / 2);
      expect(await registry.admitOperatorSession(secret)).toBeUndefined();
    });

    it('is one of at most fifty of its operator: the oldest ends', async () => {
      const { fleet, registry, begun } = await opened();
      const first = await begun();
      fleet.pass(1);
      for (let n = 0; n < 50; n += 1) await begun();
      expect(await registry.listOperatorSessions('ada')).toHaveLength(50);
      expect(await registry.admitOperatorSession(first.secret)).toBeUndefined();
    });

    it('leaves the address of its operator for thirty days', async () => {
      const { fleet, registry, begun } = await opened();
      const { record } = await begun();
      await registry.endOperatorSession(record.id, OPERATOR);
      expect(await registry.listSignInAddresses('ada')).toEqual(['192.0.2.9']);
      expect(await registry.listSignInAddresses('bob')).toEqual([]);
      fleet.pass(31 * DAY);
      expect(await registry.listSignInAddresses('ada')).toEqual([]);
    });

    it('ends with those of all operators, and so do their links', async () => {
      const { fleet, registry, begun } = await opened();
      await registry.addOperator({ name: 'bob', role: 'viewer' }, OPERATOR);
      const sessions = [await begun(), await begun('bob')];
      const link = await registry.createSignInLink('bob', OPERATOR);
      expect(await registry.endAllOperatorSessions('server/restore')).toBe(2);
      for (const { secret } of sessions) expect(await registry.admitOperatorSession(secret)).toBeUndefined();
      expect(await registry.findSignInLink(link.secret)).toBeUndefined();
      expect((await fleet.audit()).at(-1)).toBe('operator.session.ended operator/all done');
    });
  });

  describe('a one-time link', () => {
    const use = (secret: string, operator: string) => ({
      secret,
      passwordHash: HASH,
      session: { operator, method: 'link', ...CLIENT },
    });

    it('sets the password of its operator, ends its other sessions, and is used up', async () => {
      const { registry, begun } = await opened();
      const before = await begun();
      const { secret, record } = await registry.createSignInLink('ada', OPERATOR);
      expect(await registry.findSignInLink(secret)).toEqual(record);
      await expect(registry.useSignInLink(use(secret, 'bob'))).rejects.toMatchObject({ code: 'link_invalid' });
      const session = await registry.useSignInLink(use(secret, 'ada'));
      expect(await registry.admitOperatorSession(session?.secret ?? '')).toMatchObject({
        operator: 'ada',
        method: 'link',
      });
      expect(await registry.admitOperatorSession(before.secret)).toBeUndefined();
      expect(await registry.findOperatorCredentials('ada')).toMatchObject({ passwordHash: HASH });
      await expect(registry.useSignInLink(use(secret, 'ada'))).rejects.toMatchObject({ code: 'link_invalid' });
    });

    it('is replaced by the next one, ends after a day, and is none for an operator that is disabled or unknown', async () => {
      const { fleet, registry } = await opened();
      const [one, two] = [
        await registry.createSignInLink('ada', OPERATOR),
        await registry.createSignInLink('ada', OPERATOR),
      ];
      expect(await registry.findSignInLink(one.secret)).toBeUndefined();
      fleet.pass(DAY - 1);
      expect(await registry.findSignInLink(two.secret)).toBeDefined();
      fleet.pass(1);
      expect(await registry.findSignInLink(two.secret)).toBeUndefined();
      const three = await registry.createSignInLink('ada', OPERATOR);
      await registry.disableOperator('ada', OPERATOR);
      expect(await registry.findSignInLink(three.secret)).toBeUndefined();
      await expect(registry.createSignInLink('ada', OPERATOR)).rejects.toMatchObject({ code: 'operator_disabled' });
      await expect(registry.createSignInLink('bob', OPERATOR)).rejects.toMatchObject({ code: 'operator_unknown' });
    });

    it('of the first set-up adds an admin, as long as there is no operator', async () => {
      const { registry } = await RegistryFixture.open(openFresh);
      expect(await registry.needsFirstOperator()).toBe(true);
      const { secret } = await registry.createSignInLink(undefined, 'server/console');
      await expect(registry.useSignInLink(use(secret, 'Not a name'))).rejects.toMatchObject({
        code: 'request_invalid',
      });
      await registry.useSignInLink(use(secret, 'grace'));
      expect(await registry.listOperators()).toMatchObject([
        { name: 'grace', role: 'admin', createdBy: 'operator/grace' },
      ]);
      expect(await registry.needsFirstOperator()).toBe(false);
      await expect(registry.createSignInLink(undefined, OPERATOR)).rejects.toMatchObject({ code: 'set_up_done' });
    });
  });

  describe('a second factor', () => {
    const totp = (step: number) => ({ kind: 'totp', step }) as const;

    it('by TOTP is asked for once it is confirmed, and each of its time steps counts once', async () => {
      const { registry, begin } = await opened();
      const secret = Buffer.from('12345678901234567890');
      await registry.beginTotp('ada', secret);
      expect(await registry.findTotp('ada')).toEqual({ secret, isConfirmed: false, lastStep: 0 });
      expect(await registry.confirmTotp('ada', 100, 'operator/ada')).toBe(true);
      await expect(registry.beginTotp('ada', secret)).rejects.toMatchObject({ code: 'totp_exists' });
      await expect(registry.confirmTotp('ada', 101, OPERATOR)).rejects.toMatchObject({ code: 'totp_unknown' });
      expect(await begin('ada', totp(100))).toBeUndefined();
      expect(await begin('ada', totp(99))).toBeUndefined();
      expect(await begin('ada', totp(101))).toBeDefined();
      expect(await begin('ada', totp(101))).toBeUndefined();
      expect((await registry.findOperatorCredentials('ada'))?.totp).toMatchObject({ isConfirmed: true, lastStep: 101 });
    });

    it('by a recovery code counts once per code, for its own operator', async () => {
      const { registry, begin } = await opened();
      await registry.addOperator({ name: 'bob', role: 'viewer' }, OPERATOR);
      await registry.setRecoveryCodes('ada', ['aaaa', 'bbbb'], 'operator/ada');
      expect(await begin('bob', { kind: 'recovery', code: 'aaaa' })).toBeUndefined();
      expect(await begin('ada', { kind: 'recovery', code: 'aaaa' })).toBeDefined();
      expect(await begin('ada', { kind: 'recovery', code: 'aaaa' })).toBeUndefined();
      expect(await registry.countRecoveryCodes('ada')).toBe(1);
      await registry.setRecoveryCodes('ada', ['cccc'], 'operator/ada');
      expect(await begin('ada', { kind: 'recovery', code: 'bbbb' })).toBeUndefined();
    });

    it('is removed with its recovery codes', async () => {
      const { registry } = await opened();
      await registry.beginTotp('ada', Buffer.alloc(20, 1));
      await registry.setRecoveryCodes('ada', ['aaaa'], 'operator/ada');
      await registry.removeTotp('ada', 'operator/ada');
      expect([await registry.findTotp('ada'), await registry.countRecoveryCodes('ada')]).toEqual([undefined, 0]);
      await expect(registry.removeTotp('ada', OPERATOR)).rejects.toMatchObject({ code: 'totp_unknown' });
    });
  });

  describe('a passkey', () => {
    const passkey = (id: string, operator = 'ada') => ({
      id,
      operator,
      name: 'laptop',
      publicKey: Buffer.from('key'),
      counter: 5,
      transports: ['internal'],
      rpId: 'localhost',
    });

    it('belongs to one operator, who alone removes it', async () => {
      const { registry } = await opened();
      await registry.addOperator({ name: 'bob', role: 'viewer' }, OPERATOR);
      const added = await registry.addPasskey(passkey('one'), 'operator/ada');
      expect([await registry.findPasskey('one'), await registry.listPasskeys('ada')]).toEqual([added, [added]]);
      await expect(registry.addPasskey(passkey('one', 'bob'), OPERATOR)).rejects.toMatchObject({
        code: 'passkey_exists',
      });
      await expect(registry.removePasskey('bob', 'one', OPERATOR)).rejects.toMatchObject({ code: 'passkey_unknown' });
      await registry.removePasskey('ada', 'one', 'operator/ada');
      expect(await registry.findPasskey('one')).toBeUndefined();
    });

    it('whose counter does not grow is not accepted, unless it does not count', async () => {
      const { fleet, registry } = await opened();
      await registry.addPasskey(passkey('one'), OPERATOR);
      await registry.addPasskey({ ...passkey('two'), counter: 0 }, OPERATOR);
      fleet.pass(MINUTE);
      const uses = [5, 6, 6, 4, 7];
      expect(await Promise.all(uses.map((n) => registry.usePasskey('one', n)))).toEqual([
        false,
        true,
        false,
        false,
        true,
      ]);
      expect([await registry.usePasskey('two', 0), await registry.usePasskey('two', 0)]).toEqual([true, true]);
      expect((await registry.findPasskey('one'))?.lastUsedAt).toBe(fleet.now);
    });

    it('is one of at most twenty of its operator', async () => {
      const { registry } = await opened();
      for (let n = 0; n < 20; n += 1) await registry.addPasskey(passkey(`key-${n}`), OPERATOR);
      await expect(registry.addPasskey(passkey('more'), OPERATOR)).rejects.toMatchObject({ code: 'request_invalid' });
    });
  });

  it('a reset removes everything an operator signs in with', async () => {
    const { registry } = await opened();
    await registry.setOperatorPassword('ada', { hash: HASH }, OPERATOR);
    await registry.beginTotp('ada', Buffer.alloc(20, 1));
    await registry.confirmTotp('ada', 1, OPERATOR);
    await registry.setRecoveryCodes('ada', ['aaaa'], OPERATOR);
    const key = { id: 'one', operator: 'ada', name: 'laptop', publicKey: Buffer.from('key'), counter: 0 };
    await registry.addPasskey({ ...key, transports: [], rpId: 'localhost' }, OPERATOR);
    const link = await registry.createSignInLink('ada', OPERATOR);
    await registry.resetOperator('ada', {}, OPERATOR);
    expect(await registry.findOperatorCredentials('ada')).toMatchObject({ passwordHash: undefined, totp: undefined });
    expect([await registry.countRecoveryCodes('ada'), await registry.listPasskeys('ada')]).toEqual([0, []]);
    expect(await registry.findSignInLink(link.secret)).toBeUndefined();
  });

  it('announces which sessions ended, after the commit', async () => {
    const { registry, begun } = await opened();
    const [one, two] = [await begun(), await begun()];
    const ended: OperatorAccessEnded[] = [];
    registry.onOperatorAccessEnded((event) => void ended.push(event));
    await registry.endOperatorSession(one.record.id, OPERATOR);
    await registry.setOperatorPassword('ada', { hash: HASH, exceptSession: two.record.id }, OPERATOR);
    expect(ended).toEqual([
      { operator: 'ada', sessionId: one.record.id },
      { operator: 'ada', sessions: { except: two.record.id } },
    ]);
  });

  it('has every change in the audit, without a secret', async () => {
    const { fleet, registry, begun } = await opened();
    const { secret: link } = await registry.createSignInLink('ada', OPERATOR);
    const session = { operator: 'ada', method: 'link', ...CLIENT };
    await registry.useSignInLink({ secret: link, passwordHash: HASH, session });
    const { record, secret } = await begun();
    await registry.renewOperatorSession(record.id, { method: 'password' });
    await registry.beginTotp('ada', Buffer.alloc(20, 1));
    await registry.confirmTotp('ada', 1, 'operator/ada');
    await registry.setRecoveryCodes('ada', ['recovery-1'], 'operator/ada');
    await registry.removeTotp('ada', 'operator/ada');
    await registry.endOperatorSession(record.id, 'operator/ada');
    expect((await fleet.audit()).map((line) => line.split(' ')[0])).toEqual([
      'operator.added',
      'operator.link.created',
      'operator.signed_in',
      'operator.link.used',
      'operator.password.set',
      'operator.signed_in',
      'operator.reauthenticated',
      'operator.totp.confirmed',
      'operator.recovery.renewed',
      'operator.totp.removed',
      'operator.session.ended',
    ]);
    const text = JSON.stringify(await registry.listAudit({ limit: 100 }));
    for (const hidden of [link, secret, HASH, 'recovery-1']) expect(text).not.toContain(hidden);
    expect(await registry.verifyAudit()).toMatchObject({ fault: undefined });
  });
}
