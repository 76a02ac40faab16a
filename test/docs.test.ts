/** The pages that must stay true: what they name exists. */

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const read = (page: string) => readFileSync(`${root}${page}`, 'utf8');

/** Paths in code quotes that have a slash and an ending, or end in a slash. */
function quotedPaths(page: string): readonly string[] {
  return [...read(page).matchAll(/`([a-z][\w.-]*\/(?:[\w./-]*\.(?:ts|md|js|sql|py))?)`/g)].map(
    (match) => match[1] as string,
  );
}

function linkedPaths(page: string): readonly string[] {
  return [...read(page).matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map((match) => match[1] as string);
}

describe.each(['ARCHITECTURE.md', 'README.md', 'CONTRIBUTING.md', 'SECURITY.md'])('%s', (page) => {
  it('names only files and folders that exist', () => {
    const named = [...quotedPaths(page), ...linkedPaths(page)];
    expect(named.filter((path) => !existsSync(`${root}${path}`) && !path.startsWith('data/'))).toEqual([]);
  });
});

describe('ARCHITECTURE.md', () => {
  it('has the import table that test/source-rules.test.ts holds', () => {
    const rows = [...read('ARCHITECTURE.md').matchAll(/^\| `([a-z-]+)\/` \| .* \| ([^|]+) \|$/gm)];
    const held = read('test/source-rules.test.ts');
    expect(rows.length).toBeGreaterThan(9);
    for (const [, room, allowed] of rows as unknown as [string, string, string][]) {
      const line = new RegExp(`^  '?${room}'?: \\[(.*)\\],$`, 'm').exec(held)?.[1];
      expect(line, room).toBeDefined();
      const inTest = [...(line as string).matchAll(/'([^']+)'/g)].map((match) => match[1]);
      if (!/^(nothing|all)/.test(allowed)) expect(inTest, room).toEqual(allowed.split(', '));
      if (allowed.startsWith('nothing')) expect(inTest, room).toEqual([]);
    }
  });
});
