/** An image of unknown origin cannot harm the machine that verifies it. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { rollcall } from '../../test/fixtures/program.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

/** A manifest, and whatever else is said. */
function image(files: Readonly<Record<string, string>>): string {
  const directory = join(temporaryDirectory(), 'image');
  mkdirSync(directory);
  const manifest = {
    format: 'rollcall-image/1',
    madeAt: '2030-01-01T00:00:00.000Z',
    version: '1',
    group: 'default',
    enrollUrl: 'https://localhost',
    rootSha256: '0'.repeat(64),
    token: { id: 'a', maxUses: 1, expiresAt: '2030-01-01T00:00:00.000Z' },
    files,
  };
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
  return directory;
}

describe('an image from elsewhere', () => {
  it('says nothing to the terminal by the names of its files', async () => {
    const directory = image({});
    writeFileSync(join(directory, '\u001b[2Jmore'), '');
    const { stdout, stderr, code } = await rollcall(['image', 'verify', directory]);
    expect(code).toBe(2);
    expect(stdout).toContain('\\x1b[2Jmore: it is not in the manifest');
    expect(stdout + stderr).not.toContain('\u001b');
  });

  it('names no file outside of it, and says nothing to the terminal by trying', async () => {
    const { stdout, stderr, code } = await rollcall([
      'image',
      'verify',
      image({ '../../\u001b[2Jsecret': '0'.repeat(64) }),
    ]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('manifest.json: files.../../\\x1b[2Jsecret');
    expect(stderr).not.toContain('\u001b');
  });
});
