/** The files of the pages, as the console's HTTPS listener answers with them. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fastify from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openTestConsole, type RawAnswer, send, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import { PAGES } from './web/navigation.ts';
import { addWebPages } from './web-pages.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
});
afterAll(() => fixture.close());

const get = (path: string, headers: Readonly<Record<string, string>> = {}): Promise<RawAnswer> =>
  send(fixture, { listener: 'tcp', path, headers });

/** The first script that the document names. */
async function scriptPath(): Promise<string> {
  const { text } = await get('/');
  return /<script type="module" [^>]*src="([^"]+)"/.exec(text)?.[1] as string;
}

describe('the document', () => {
  it.each(PAGES.map(({ path }) => path))('is the answer at %s, without a key', async (path) => {
    const { status, headers, text } = await get(path);
    expect([status, headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect(text).toContain('<div id="app">');
  });

  it('is the answer below a page, so that a link to one device works', async () => {
    expect((await get('/devices/gw-1?tab=twin')).text).toContain('<div id="app">');
  });

  it('allows nothing from elsewhere, nothing inline and no frame', async () => {
    const policy = String((await get('/')).headers['content-security-policy']);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*|data:/);
  });

  it('has no inline script and no inline style', async () => {
    const { text } = await get('/');
    expect(text).not.toMatch(/<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=/);
  });

  it('is not stored, and answers 304 while it is the same', async () => {
    const { headers } = await get('/');
    expect(headers['cache-control']).toBe('no-cache');
    expect((await get('/', { 'if-none-match': String(headers.etag) })).status).toBe(304);
    expect((await get('/', { 'if-none-match': '"another"' })).status).toBe(200);
  });
});

describe('a file of the pages', () => {
  it('may be cached for good, because its name has its hash', async () => {
    const { status, headers } = await get(await scriptPath());
    expect([status, headers['content-type']]).toEqual([200, 'text/javascript; charset=utf-8']);
    expect(headers['cache-control']).toBe('public, max-age=31536000, immutable');
    expect(headers['x-content-type-options']).toBe('nosniff');
  });

  it.each([
    ['gzip, deflate, br', 'br'],
    ['gzip', 'gzip'],
    ['', undefined],
  ])('is sent in the form that the client accepts: %s', async (accepted, encoding) => {
    const { headers } = await get(await scriptPath(), { 'accept-encoding': accepted });
    expect(headers['content-encoding']).toBe(encoding);
    expect(headers.vary).toBe('accept-encoding');
  });
});

describe('a path that is no page', () => {
  it.each([
    '/assets/../index.html',
    '/assets/%2e%2e/%2e%2e/%2e%2e/package.json',
    '/assets/..%2f..%2fweb-pages.ts',
    '/assets/%00.js',
    '/licenses.md',
    '/.built-from',
    '/main.tsx',
    '/index.html',
  ])('is answered as any unknown path: %s', async (path) => {
    const { status, json } = await get(path);
    expect([status, json?.code]).toEqual([401, 'operator_required']);
  });
});

it('a page under a foreign name is refused, as the API is', async () => {
  const { status, json } = await get('/', { host: 'evil.example' });
  expect([status, json.code]).toEqual([400, 'request_invalid']);
});

describe('a directory of pages', () => {
  async function consoleOf(directory: string) {
    const app = fastify();
    addWebPages(app, directory);
    return app;
  }

  it('that was not built says how to build it', async () => {
    const app = await consoleOf(join(temporaryDirectory(), 'absent'));
    expect((await app.inject('/devices')).body).toContain('npm run build:console');
  });

  it('serves files of known types alone', async () => {
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'assets'));
    for (const name of ['index.html', 'assets/a.js', 'assets/a.js.map', 'notes.md']) {
      writeFileSync(join(directory, name), name);
    }
    const app = await consoleOf(directory);
    const status = async (path: string) => (await app.inject(path)).statusCode;
    expect([await status('/assets/a.js'), await status('/assets/a.js.map'), await status('/notes.md')]).toEqual([
      200, 404, 404,
    ]);
  });
});
