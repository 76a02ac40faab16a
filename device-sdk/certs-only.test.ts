import fc from 'fast-check';
import { afterAll, expect } from 'vitest';
import { testsWithClients } from '../test/fixtures/real-client.ts';
import { makeScriptedAuthority } from '../test/fixtures/scripted-authority.ts';
import { readCertsOnly } from './certs-only.ts';

const { describe, it } = testsWithClients('device-sdk/certs-only.test.ts', ['openssl']);

const authority = makeScriptedAuthority();
afterAll(() => authority.dispose());
const good = authority.certsOnly(authority.rootPem, authority.issuingPem);

describe('a certs-only PKCS#7', () => {
  it('gives its certificates in order', () => {
    const subjects = readCertsOnly(good)?.map((certificate) => certificate.subject);
    expect(subjects?.sort()).toEqual(['CN=scripted issuing', 'CN=scripted root']);
  });

  it('may be empty', () => {
    const empty = Buffer.from(
      '3023 0609 2a864886f70d010702 a016 3014 020101 3100 300b 06092a864886f70d010701 a000'.replaceAll(' ', ''),
      'hex',
    );
    expect(readCertsOnly(empty)).toEqual([]);
  });

  it('is refused with more certificates than a chain can have', () => {
    const many = (count: number) =>
      readCertsOnly(authority.certsOnly(...new Array<string>(count).fill(authority.rootPem)));
    expect(many(16)).toHaveLength(16);
    expect(many(17)).toBeUndefined();
  });

  it('is refused when it is truncated anywhere, or when bytes follow it', () => {
    for (let length = 0; length < good.length; length += 1) {
      expect(readCertsOnly(good.subarray(0, length))).toBeUndefined();
    }
    expect(readCertsOnly(Buffer.concat([good, Buffer.from([0])]))).toBeUndefined();
  });

  it('is refused with a length that is indefinite, too wide, or larger than what holds it', () => {
    for (const length of ['80', '84ffffffff', '83ffffff', 'ff']) {
      const damaged = Buffer.concat([Buffer.from(`30${length}`, 'hex'), good.subarray(4)]);
      expect(readCertsOnly(damaged)).toBeUndefined();
    }
  });

  it('of any bytes, near the truth or far from it, never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(readCertsOnly(Buffer.from(bytes))).toBeUndefined();
      }),
      { numRuns: 200, seed: 1 },
    );
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
        const mutated = Buffer.from(good);
        mutated[at] = value;
        readCertsOnly(mutated);
      }),
      { numRuns: 500, seed: 2 },
    );
  });
});
