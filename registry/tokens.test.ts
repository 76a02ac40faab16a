/** The statement that decides every race for a token, asked alone: nothing before it has looked whether it may. */

import { join } from 'node:path';
import { DEFAULT_GROUP } from '@rollcall/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { openDatabase } from './database.ts';
import { consumeToken, createToken, listTokens, revokeToken } from './tokens.ts';

function mintedToken(maxUses: number) {
  const clock = { now: 1_000 };
  const database = openDatabase({ file: join(temporaryDirectory(), 'registry.db'), now: () => clock.now });
  onTestFinished(() => database.close());
  const order = { maxUses, ttlSeconds: 60, group: DEFAULT_GROUP, labels: {} };
  const { record } = createToken(database, (size) => Buffer.alloc(size, 7), order, 'operator/local');
  return {
    spend: () => database.write((tx) => consumeToken(tx, record.id)),
    uses: () => listTokens(database)[0]?.uses,
    makeVoid: () => revokeToken(database, record.id, 'operator/local'),
    clock,
  };
}

describe('spending a token', () => {
  it('works as often as it has uses', () => {
    const token = mintedToken(2);
    expect([token.spend(), token.spend(), token.spend()]).toEqual([true, true, false]);
    expect(token.uses()).toBe(2);
  });

  it('fails from the moment it expires', () => {
    const token = mintedToken(2);
    token.clock.now += 59_999;
    expect(token.spend()).toBe(true);
    token.clock.now += 1;
    expect(token.spend()).toBe(false);
    expect(token.uses()).toBe(1);
  });

  it('fails once it is void', () => {
    const token = mintedToken(2);
    token.makeVoid();
    expect(token.spend()).toBe(false);
    expect(token.uses()).toBe(0);
  });
});
