import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openBearerKey } from './bearer-key.ts';

describe.each(['operator', 'metrics'] as const)('the %s key', (kind) => {
  const dir = mkdtempSync(join(tmpdir(), 'key-'));
  afterAll(() => rmSync(dir, { recursive: true }));
  const path = join(dir, `${kind}.key`);

  it('is made once, with 256 bits, for its owner only', async () => {
    await openBearerKey(kind, path);
    const text = readFileSync(path, 'utf8').trim();
    expect(Buffer.from(text, 'base64url')).toHaveLength(32);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const key = await openBearerKey(kind, path);
    expect(readFileSync(path, 'utf8').trim()).toBe(text);
    expect(key.matches(text)).toBe(true);
    expect(key.matches(`${text.slice(0, -1)}!`)).toBe(false);
    expect(key.matches('')).toBe(false);
  });

  it.each(['640', '604', '660', '644'])('is refused with mode %s', async (mode) => {
    chmodSync(path, Number.parseInt(mode, 8));
    await expect(openBearerKey(kind, path)).rejects.toMatchObject({
      code: 'private_key_exposed',
      reason: `expected mode 600 on ${kind} key ${path}, found ${mode}`,
    });
    chmodSync(path, 0o600);
  });

  it('is made again when a start was killed before it was written, and refused when it is something else', async () => {
    writeFileSync(path, '', { mode: 0o600 });
    await openBearerKey(kind, path);
    expect(readFileSync(path, 'utf8')).toMatch(/^[A-Za-z0-9_-]{43}\n$/);
    writeFileSync(path, 'short');
    await expect(openBearerKey(kind, path)).rejects.toMatchObject({ code: 'data_directory_unusable' });
  });
});
