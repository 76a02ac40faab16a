/** docs/errors.md lists each problem code once, and no other code. */

import { readFileSync } from 'node:fs';
import { PROBLEMS } from '@rollcall/protocol';
import { describe, expect, it } from 'vitest';

const page = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
const documented = [...page.matchAll(/^\| `([a-z_]+)` \| (\d+) \|/gm)].map(([, code, number]) => ({
  code,
  number: Number(number),
}));

describe('docs/errors.md', () => {
  it('has one row for each code', () => {
    expect(documented.map(({ code }) => code).sort()).toEqual(Object.keys(PROBLEMS).sort());
  });

  it('gives each HTTP status as the code defines it', () => {
    const web = documented.filter(({ number }) => number >= 100);
    expect(web.length).toBeGreaterThan(20);
    for (const { code, number } of web) expect(number, code).toBe(PROBLEMS[code as keyof typeof PROBLEMS].status);
  });
});
