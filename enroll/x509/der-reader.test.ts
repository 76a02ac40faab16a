import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writeTestCsr } from '../../test/fixtures/enroll/test-csr.ts';
import { openTestAuthority } from '../../test/fixtures/enroll/test-enrollment.ts';
import { readDer } from './der-reader.ts';
import { encodeDer, integer, octets, sequence, utf8 } from './der-writer.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('the DER reader', () => {
  it('finds the parts of a value by their exact bytes', () => {
    const node = readDer(encodeDer(sequence(integer(5), sequence(utf8('a')), octets(Buffer.alloc(200)))));
    if (typeof node === 'string') throw new Error(node);
    expect(node.children.map(({ tag }) => tag)).toEqual([0x02, 0x30, 0x04]);
    expect(node.children[1]?.bytes.toString('hex')).toBe('30030c0161');
    expect(node.children[2]?.contents.length).toBe(200);
  });

  it('reads requests and certificates of ours', async () => {
    const { authority } = await openTestAuthority();
    expect(typeof readDer(writeTestCsr())).toBe('object');
    expect(typeof readDer(new X509Certificate(authority.trust.rootPem).raw)).toBe('object');
  });

  it.each([
    ['nothing at all', ''],
    ['a lonely tag', '30'],
    ['bytes after the value', '3000 00'],
    ['a length beyond the end', '3005 0201'],
    ['a child beyond its parent', '3003 0202 0101'],
    ['four gigabytes', '3084 ffffffff'],
    ['a length of length 127', '30ff'],
    ['an indefinite length', '3080 0000'],
    ['a long form where the short one does', '308103 020105'],
    ['a long form with a leading zero', '30820003 020105'],
    ['an end-of-contents marker', '3002 0000'],
    ['a tag number above 30', '3003 1f2001'],
    ['a constructed octet string', '3006 2404 0402 0101'],
    ['a constructed bit string', '2305 0303 000101'],
    ['a primitive sequence', '1003 020105'],
    ['an integer with a leading zero', '0202 0001'],
    ['an integer with a leading FF', '0202 ff80'],
    ['an empty integer', '0200'],
    ['a boolean that is 01', '0101 01'],
    ['a boolean of two bytes', '0102 ffff'],
    ['a bit string without unused bits', '0300'],
    ['a bit string with eight unused bits', '0302 0800'],
    ['a null with contents', '0501 00'],
  ])('refuses %s', (_what, text) => {
    expect(typeof readDer(hex(text))).toBe('string');
  });

  it('refuses nesting of five thousand levels without following it', () => {
    let der = Buffer.alloc(0);
    for (let depth = 0; depth < 5_000; depth += 1) {
      const length =
        der.length < 0x80
          ? [der.length]
          : der.length < 0x100
            ? [0x81, der.length]
            : [0x82, der.length >> 8, der.length & 255];
      der = Buffer.concat([Buffer.from([0x30, ...length]), der]);
    }
    expect(readDer(der)).toBe('expected at most 16 levels');
  });

  it('refuses too many small values', () => {
    const crowd = encodeDer(sequence(...Array.from({ length: 4_000 }, () => integer(1))));
    expect(readDer(crowd)).toBe('expected at most 400 values');
  });

  it('never throws and never reads two spellings of one value, whatever the bytes', () => {
    const csr = writeTestCsr({ commonNames: ['dev-7'] });
    const mutated = fc
      .array(fc.tuple(fc.nat(csr.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
      .map((changes) => {
        const bytes = Buffer.from(csr);
        for (const [at, value] of changes) bytes[at] = value;
        return bytes;
      });
    fc.assert(
      fc.property(
        fc.oneof(
          mutated,
          fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
        ),
        (bytes) => {
          const node = readDer(bytes);
          if (typeof node === 'string') return;
          expect(node.bytes.equals(bytes)).toBe(true);
          expect(
            Buffer.concat(node.children.map((child) => child.bytes)).equals(
              node.children.length ? node.contents : Buffer.alloc(0),
            ),
          ).toBe(true);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});
