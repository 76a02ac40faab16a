import { describe, expect, it } from 'vitest';
import { OpenParts } from './open-parts.ts';

describe('what a server has opened', () => {
  it('is closed in the reverse order, each after the one before, and once', async () => {
    const opened = new OpenParts();
    const said: string[] = [];
    for (const name of ['memory', 'broker', 'console']) {
      opened.add({
        close: async () => {
          said.push(`${name} closes`);
          await new Promise((resolve) => setImmediate(resolve));
          said.push(`${name} closed`);
        },
      });
    }
    await Promise.all([opened.close(), opened.close()]);
    expect(said).toEqual(['console', 'broker', 'memory'].flatMap((name) => [`${name} closes`, `${name} closed`]));
  });

  it('is closed to the end when a part refuses, and that is said then', async () => {
    const opened = new OpenParts();
    let isClosed = false;
    opened.add({
      close: async () => {
        isClosed = true;
      },
    });
    opened.add({ close: () => Promise.reject(new Error('stuck')) });
    await expect(opened.close()).rejects.toMatchObject({ code: 'internal', cause: { message: 'stuck' } });
    expect(isClosed).toBe(true);
  });
});
