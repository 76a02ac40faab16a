import { describe, expect, it } from 'vitest';
import { OpenParts } from './open-parts.ts';

describe('the open parts of a server', () => {
  it('are closed once, one after another, in reverse order', async () => {
    const opened = new OpenParts();
    const closings: string[] = [];
    for (const name of ['memory', 'broker', 'console']) {
      opened.add({
        close: async () => {
          closings.push(`${name} closes`);
          await new Promise((resolve) => setImmediate(resolve));
          closings.push(`${name} closed`);
        },
      });
    }
    await Promise.all([opened.close(), opened.close()]);
    expect(closings).toEqual(['console', 'broker', 'memory'].flatMap((name) => [`${name} closes`, `${name} closed`]));
  });

  it('are all closed when one fails to close, and the failure is thrown', async () => {
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
