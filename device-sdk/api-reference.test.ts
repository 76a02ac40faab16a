import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { pageOf, SDKS, writeReference } from './api-reference.ts';

const page = readFileSync(new URL('../docs/sdk-api.md', import.meta.url), 'utf8');

it.each(SDKS)(
  'the reference of the $title is what the docstrings say: node bin/pinned.js device-sdk/api-reference.ts writes it',
  (sdk) => {
    expect(writeReference(sdk)).toBe(readFileSync(pageOf(sdk), 'utf8'));
  },
);

it('the reference names every export, and every public member of a device with a word about it', () => {
  const index = readFileSync(new URL('index.ts', import.meta.url), 'utf8');
  const names = [...index.matchAll(/^export [^{]*\{([^}]+)\}/gm)].flatMap(
    ([, list]) => list?.match(/\b(?!type )\w+/g) ?? [],
  );
  expect(names.length).toBeGreaterThan(40);
  for (const name of names) expect(page).toContain(`\n## ${name}\n`);
  const device = page.slice(page.indexOf('\n## Device\n'), page.indexOf('\n## DeviceError\n'));
  for (const member of ['static async open', 'publish<', 'get twin', 'onCommand<', 'child<', 'renew()', 'close()']) {
    const [, after = ''] = device.split(member);
    expect(after, member).toMatch(/\n```\n\n[A-Z]/);
  }
  expect(device).not.toMatch(/(^|\s)#\w/);
});
