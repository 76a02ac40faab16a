/** Consuming a token by itself, without the checks that enrollment does before it. */

import { join } from 'node:path';
import { DEFAULT_GROUP } from '@rollcall/protocol';
import { describe, expect, it, onTestFinished } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { openDatabase } from '../sqlite/sqlite-database.ts';
import { consumeToken } from './consume-token.ts';
import { createToken } from './create-token.ts';
import { listTokens, revokeToken } from './tokens.ts';

async function newToken(maxUses: number) {
  const clock = { now: 1_000 };
  const database = openDatabase({ file: join(temporaryDirectory(), 'registry.db'), now: () => clock.now });
  onTestFinished(() => database.close());
  const request = { maxUses, ttlSeconds: 60, group: DEFAULT_GROUP, labels: {} };
  const { record } = await createToken(database, (size) => Buffer.alloc(size, 7), request, 'operator/local');
  return {
    consume: () => database.write((tx) => consumeToken(tx, record.id)),
    uses: async () => (await listTokens(database))[0]?.uses,
    revoke: () => revokeToken(database, record.id, 'operator/local'),
    clock,
  };
}

describe('consuming a token', () => {
  it('succeeds as often as the token has uses', async () => {
    const token = await newToken(2);
    expect([token.consume(), token.consume(), token.consume()]).toEqual([true, true, false]);
    expect(await token.uses()).toBe(2);
  });

  it('fails from the moment the token expires', async () => {
    const token = await newToken(2);
    token.clock.now += 59_999;
    expect(token.consume()).toBe(true);
    token.clock.now += 1;
    expect(token.consume()).toBe(false);
    expect(await token.uses()).toBe(1);
  });

  it('fails once the token is revoked', async () => {
    const token = await newToken(2);
    await token.revoke();
    expect(token.consume()).toBe(false);
    expect(await token.uses()).toBe(0);
  });
});
