import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';
import type { Endpoint } from './api/endpoint.ts';
import { type OpenApiDocument, writeApiReference } from './api-reference.ts';
import { endpoints } from './endpoints.ts';

const PAGE = fileURLToPath(new URL('../docs/api-reference.md', import.meta.url));

let fixture: TestConsole;
let page: string;
beforeAll(async () => {
  fixture = await openTestConsole();
  page = writeApiReference((await fixture.client.describeApi()) as unknown as OpenApiDocument);
});
afterAll(() => fixture.close());

it('the reference is what /openapi.json says: npx vitest run console/api-reference.test.ts -u writes it', async () => {
  await expect(page).toMatchFileSnapshot(PAGE);
});

it('the reference has each request with its summary, its role, its parameters, its body and its answer', () => {
  for (const { method, path, summary, access, mediaType = 'application/json', ...parts } of all()) {
    const section = sectionOf(`${method} ${path.replace(/:([a-z]+)/g, '{$1}')}`);
    expect(section.toLowerCase()).toContain(summary.slice(0, 20).toLowerCase());
    expect(section.includes(`Needs the role ${access}.`)).toBe(['viewer', 'operator', 'admin'].includes(access));
    expect(section.includes('| parameter |')).toBe(
      [parts.params, parts.query, parts.headers].some((part) => part !== undefined),
    );
    expect(section.includes('Body: ')).toBe(parts.body !== undefined);
    expect(section).toContain(`Answer: \`${mediaType}\``);
  }
});

function all(): readonly Endpoint[] {
  return Object.values(endpoints);
}

function sectionOf(title: string): string {
  const [, after] = page.split(`\n### ${title}\n`);
  expect(after, title).toBeDefined();
  return after?.split(/\n##/, 1)[0] ?? '';
}
