/** What a browser downloads before a page is usable for the first time. */

import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { startBrowser } from '../fixtures/browser.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { describeWithClients } from '../fixtures/real-client.ts';

const MAX_BYTES = 150_000;

/** Bytes of the file as it is sent with gzip. */
function compressedBytes(url: string, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { ca, headers: { 'accept-encoding': 'gzip' }, agent: false } as const;
    request(url, options, (response) => {
      expect(response.headers['content-encoding']).toBe('gzip');
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      response.on('end', () => resolve(bytes));
    })
      .once('error', reject)
      .end();
  });
}

describeWithClients('the first load of a page', ['chromium'], () => {
  it.each(['/', '/devices', '/refused'])('of %s is at most 150 kB with gzip', async (path) => {
    const fleet = await startFleet();
    const key = readFileSync(join(fleet.data, 'operator.key'), 'utf8').trim();
    const browser = await startBrowser({ url: fleet.consoleUrl, headers: { authorization: `Bearer ${key}` } });
    try {
      const { page } = await browser.open('/favicon-of-nothing');
      const urls = new Set<string>();
      page.on('request', (one) => {
        if (['document', 'script', 'stylesheet', 'image', 'font'].includes(one.resourceType())) urls.add(one.url());
      });
      await page.goto(`${fleet.consoleUrl}${path}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
      const ca = readFileSync(fleet.trustBundle, 'utf8');
      const sizes = await Promise.all([...urls].map((url) => compressedBytes(url, ca)));
      expect(urls.size).toBeGreaterThan(3);
      expect(sizes.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThanOrEqual(MAX_BYTES);
    } finally {
      await browser.close();
      await fleet.stop();
    }
  });
});
