import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BootstrapToken, formatBootstrapToken, parseBootstrapToken } from './bootstrap-token.ts';

const token: BootstrapToken = {
  id: '00ff00ff00ff00ff',
  secret: Buffer.alloc(20, 7).toString('base64url'),
  rootSha256: 'ab'.repeat(32),
  enrollUrl: 'https://fleet.example:8443',
};

describe('a bootstrap token', () => {
  it('says in one string where to enroll, whom to trust and with which secret', () => {
    expect(parseBootstrapToken(formatBootstrapToken(token))).toEqual(token);
  });

  it('survives a command line and a Basic password: no space, no colon, no shell character', () => {
    expect(formatBootstrapToken(token)).toMatch(/^[A-Za-z0-9._-]+$/);
  });

  it.each([
    'http://fleet.example',
    'https://fleet.example:8443/path',
    'https://user@fleet.example',
    'fleet.example',
    'https://',
  ])('never names %s as its server', (enrollUrl) => {
    expect(parseBootstrapToken(formatBootstrapToken({ ...token, enrollUrl }))).toBeUndefined();
  });

  it.each([
    '',
    'rc1',
    'rc2.',
    'rc1....',
    formatBootstrapToken(token).toUpperCase(),
    ` ${formatBootstrapToken(token)}`,
    `${formatBootstrapToken(token)}=`,
  ])('is not read from %j', (text) => {
    expect(parseBootstrapToken(text)).toBeUndefined();
  });

  it('has one spelling of its id, secret and fingerprint, and comes out with a canonical URL', () => {
    const text = formatBootstrapToken(token);
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.constantFrom(...'AZaz09-_.=+/'), (at, character) => {
        const mutated = text.slice(0, at) + character + text.slice(at + 1);
        const parsed = parseBootstrapToken(mutated);
        if (parsed === undefined) return;
        const canonical = formatBootstrapToken(parsed);
        expect(canonical.split('.').slice(0, 4)).toEqual(mutated.split('.').slice(0, 4));
        expect(parseBootstrapToken(canonical)).toEqual(parsed);
      }),
      { numRuns: 2_000 },
    );
  });

  it('longer than 512 characters is not read at all', () => {
    const enrollUrl = `https://${'a'.repeat(60)}.${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(60)}.${'e'.repeat(60)}.example`;
    expect(formatBootstrapToken({ ...token, enrollUrl }).length).toBeGreaterThan(512);
    expect(parseBootstrapToken(formatBootstrapToken({ ...token, enrollUrl }))).toBeUndefined();
  });
});
