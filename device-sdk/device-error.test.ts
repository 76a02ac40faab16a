import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { asDeviceError, DEVICE_ERRORS, DeviceError } from './device-error.ts';

describe('an error of the SDK', () => {
  it('is described in the README, whatever its code', () => {
    const readme = readFileSync(new URL('README.md', import.meta.url), 'utf8');
    const described = [...readme.matchAll(/^\| `([a-z_]+)` \|/gm)].map((found) => found[1]);
    expect(Object.keys(DEVICE_ERRORS).filter((code) => !described.includes(code))).toEqual([]);
  });

  it("says the server's sentence for the server's codes, and its own for its own", () => {
    expect(new DeviceError('token_rejected').message).toBe('the bootstrap token was not accepted');
    expect(new DeviceError('closed', { reason: 'why' }).message).toBe('this device was closed: why');
  });

  it('is made of anything that was thrown', () => {
    const own = new DeviceError('closed');
    expect(asDeviceError(own, 'internal')).toBe(own);
    expect(asDeviceError(new TypeError('odd'), 'internal')).toMatchObject({
      code: 'internal',
      cause: expect.any(TypeError),
    });
    expect(asDeviceError('text', 'internal').message).toContain('text');
  });
});
