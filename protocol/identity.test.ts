import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type DeviceId,
  formatIdentity,
  identityUri,
  isTrustDomain,
  parseDeviceId,
  parseIdentity,
  parseIdentityUri,
} from './identity.ts';

describe('a device id', () => {
  it.each(['a', 'dev-7', '0', 'A.b_c-d', 'x'.repeat(64)])('may be %j', (text) => {
    expect(parseDeviceId(text)).toBe(text);
  });

  it.each([
    '',
    '-a',
    '.a',
    '..',
    '_a',
    'a b',
    'a+b',
    'a#',
    'a/b',
    'a\u0000',
    'a\n',
    'é',
    '０',
    'x'.repeat(65),
    ' a',
    'a ',
  ])('may not be %j', (text) => {
    expect(parseDeviceId(text)).toBeUndefined();
  });

  it('never holds a character that means something in a topic, a path or a URI', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 70 }), (text) => {
        const id = parseDeviceId(text);
        if (id !== undefined) expect(id).toMatch(/^[A-Za-z0-9._-]+$/);
      }),
    );
  });
});

describe('an identity', () => {
  const device = { kind: 'device', id: 'dev-7' as DeviceId } as const;

  it('has one text form, and a bare name means a device', () => {
    expect(formatIdentity(device)).toBe('device/dev-7');
    expect(parseIdentity('device/dev-7')).toEqual(device);
    expect(parseIdentity('dev-7')).toEqual(device);
    expect(parseIdentity('service/dashboard')).toEqual({ kind: 'service', name: 'dashboard' });
  });

  it.each(['', '/', 'device/', 'server/enroll', 'device/a/b', 'device/+', 'DEVICE/a'])(
    'is not read from %j',
    (text) => {
      expect(parseIdentity(text)).toBeUndefined();
    },
  );

  it('survives the way through its certificate URI', () => {
    expect(identityUri('rollcall.internal', device)).toBe('spiffe://rollcall.internal/device/dev-7');
    expect(parseIdentityUri('rollcall.internal', 'spiffe://rollcall.internal/device/dev-7')).toEqual(device);
  });

  it.each([
    'spiffe://other.internal/device/dev-7',
    'spiffe://rollcall.internal/device/dev-7/x',
    'spiffe://rollcall.internal/server/enroll',
    'spiffe://rollcall.internal/device/',
    'spiffe://rollcall.internal/device/%2b',
    'https://rollcall.internal/device/dev-7',
    'spiffe://rollcall.internal:1/device/dev-7',
  ])('is not read from %s', (uri) => {
    expect(parseIdentityUri('rollcall.internal', uri)).toBeUndefined();
  });

  it('belongs to a trust domain of lower-case letters, digits, dots, dashes and underscores', () => {
    expect(['a', 'rollcall.internal', 'a_b-c.1'].every(isTrustDomain)).toBe(true);
    expect(['', 'A', 'a/b', '.a', 'a.', 'a:1', 'x'.repeat(300)].some(isTrustDomain)).toBe(false);
  });
});
