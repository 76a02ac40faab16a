/** Lists whose length devices or operators determine: pages that are bounded in items and bytes, and link to the next one. */

import { type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { liveSession, openTestConsole, type TestConsole } from '../test/fixtures/console/test-console.ts';
import { pageOf } from './paging.ts';

let fixture: TestConsole;
beforeEach(async () => {
  fixture = await openTestConsole();
});
afterEach(() => fixture.close());

async function page(path: string): Promise<{
  readonly items: readonly Record<string, unknown>[];
  readonly next: string | undefined;
  readonly bytes: number;
}> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ socketPath: fixture.options.socketPath, path }, resolve).once('error', reject).end();
  });
  const body = await text(response);
  const link = /^<([^>]+)>; rel="next"$/.exec(String(response.headers.link))?.[1];
  const found: Record<string, unknown>[] | { sessions: Record<string, unknown>[] } = JSON.parse(body);
  return { items: 'sessions' in found ? found.sessions : found, next: link, bytes: Buffer.byteLength(body) };
}

async function allOf(path: string, name: string): Promise<unknown[]> {
  const found: unknown[] = [];
  for (let next: string | undefined = path; next !== undefined; ) {
    const { items, next: link } = await page(next);
    found.push(...items.map((item) => item[name]));
    next = link;
  }
  return found;
}

describe('a list continues by its links, without gaps and without repeats', () => {
  it('of live sessions', async () => {
    for (const n of [3, 1, 5, 2, 4]) {
      const clientId = `dev-${n}`;
      const identity = { kind: 'device', id: clientId } as never;
      fixture.sessions.push({ ...liveSession(clientId), identity });
    }
    expect(await allOf('/v1/sessions?limit=2', 'clientId')).toEqual(['dev-1', 'dev-2', 'dev-3', 'dev-4', 'dev-5']);
  });

  it('of tokens', async () => {
    const minted: string[] = [];
    for (let n = 0; n < 5; n += 1) minted.push((await fixture.client.createToken({})).token.id);
    expect((await allOf('/v1/tokens?limit=2', 'id')).toSorted()).toEqual(minted.toSorted());
    await expect(fixture.client.listTokens({ after: '0123456789abcdef' })).rejects.toMatchObject({
      code: 'token_unknown',
    });
  });

  it('of services', async () => {
    for (const name of ['c', 'a', 'b']) {
      await fixture.client.issueService({ name, csrPem: 'CERTIFICATE REQUEST' });
    }
    expect(await allOf('/v1/services?limit=2', 'name')).toEqual(['a', 'b', 'c']);
  });

  it('of devices and of the audit', async () => {
    for (const id of ['dev-1', 'dev-2', 'dev-3']) await fixture.enroll(id);
    expect(await allOf('/v1/devices?limit=2', 'id')).toEqual(['dev-1', 'dev-2', 'dev-3']);
    const entries = (await allOf('/v1/audit?limit=2', 'id')) as number[];
    expect(entries).toEqual(Array.from({ length: entries.length }, (_, n) => entries.length - n));
  });
});

it('a page ends at 16 MiB with one item at least, and links to what comes behind it', () => {
  const links: string[] = [];
  const reply = { request: { url: '/v1/tokens?limit=9' }, header: (_: string, link: string) => links.push(link) };
  const pageFrom = (from: number, bytes: number) =>
    pageOf(
      reply as never,
      Array.from({ length: 9 - from }, (_, n) => n + from),
      {
        limit: 9,
        view: (id) => ({ id, text: 'x'.repeat(bytes) }),
        cursor: (id) => ({ after: id }),
      },
    ).map(({ id }) => id);
  expect(pageFrom(0, 5 * 1_048_576)).toEqual([0, 1, 2]);
  expect(pageFrom(0, 20 * 1_048_576)).toEqual([0]);
  expect(pageFrom(7, 1)).toEqual([7, 8]);
  expect(pageFrom(9, 1)).toEqual([]);
  expect(links).toEqual([2, 0, 8].map((after) => `</v1/tokens?limit=9&after=${after}>; rel="next"`));
});

it('a device that renewed very often is shown with its newest thousand certificates', async () => {
  await fixture.enroll('dev-1');
  const [first] = await fixture.registry.listCertificates({ kind: 'device', id: 'dev-1' as never });
  if (first === undefined) throw new Error('expected a certificate, found none');
  let parentSerial = first.serial;
  for (let n = 0; n < 1_005; n += 1) {
    const { der, notBefore, notAfter } = first;
    const next = {
      der,
      notBefore,
      notAfter,
      serial: `2${String(n).padStart(20, '0')}`,
      publicKeySha256: String(n).padStart(64, '0'),
    };
    fixture.clock.now += 1;
    await fixture.registry.commitRenewal({ parentSerial, certificate: next, address: '::1' });
    parentSerial = next.serial;
    await fixture.registry.recordFirstUse(parentSerial);
  }
  const { certificates } = await fixture.client.showDevice({ id: 'dev-1' });
  expect(certificates).toHaveLength(1_000);
  expect(certificates.at(-1)?.serial).toBe(parentSerial);
});
