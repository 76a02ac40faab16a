import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { findPostgres } from './postgres-programs.ts';

function install(directory: string): string {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'postgres'), '');
  return directory;
}

it('a machine without PostgreSQL is told the package', () => {
  const versions = temporaryDirectory();
  install(join(versions, '14', 'bin'));
  expect(() => findPostgres('/nowhere', versions)).toThrow(
    expect.objectContaining({
      message: expect.stringContaining('PostgreSQL 15 or newer'),
      hint: expect.stringContaining('apt-get install postgresql'),
    }),
  );
});

it('the newest version in the place of Debian is used, otherwise the one in the path', () => {
  const versions = temporaryDirectory();
  const inPath = install(join(temporaryDirectory(), 'bin'));
  expect(findPostgres(`/nowhere:${inPath}`, versions)).toBe(inPath);
  install(join(versions, '9', 'bin'));
  install(join(versions, '15', 'bin'));
  const newest = install(join(versions, '17', 'bin'));
  mkdirSync(join(versions, '18'));
  expect(findPostgres(inPath, versions)).toBe(newest);
});
