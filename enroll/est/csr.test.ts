import { execFileSync } from 'node:child_process';
import { createECDH, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { installed } from '../../test/fixtures/client-programs.ts';
import {
  dns,
  extension,
  extensionRequest,
  freshKey,
  RSA_SHA256,
  san,
  type TestCsrOptions,
  uri,
  writeTestCsr,
} from '../../test/fixtures/enroll/test-csr.ts';
import { testDirectory } from '../../test/fixtures/enroll/test-enrollment.ts';
import {
  bits,
  boolean,
  encodeDer,
  encoded,
  integer,
  octets,
  oid,
  sequence,
  set,
  taggedBytes,
  utf8,
} from '../x509/der-writer.ts';
import { checkCsr } from './csr.ts';

const CLIENT_AUTH = oid('1.3.6.1.5.5.7.3.2');
const SERVER_AUTH = oid('1.3.6.1.5.5.7.3.1');

function verdict(order: TestCsrOptions) {
  return checkCsr(writeTestCsr(order));
}

function codeOf(order: TestCsrOptions): string {
  const found = verdict(order);
  return found.ok ? 'ok' : found.code;
}

/** SubjectPublicKeyInfo of an EC key on any curve. */
function ecSpki(curveOid: string, point: Buffer): Buffer {
  return encodeDer(sequence(sequence(oid('1.2.840.10045.2.1'), oid(curveOid)), bits(point)));
}

function rsaSpki(modulus: Buffer, exponent: number, trailing = Buffer.alloc(0)): Buffer {
  const key = Buffer.concat([encodeDer(sequence(integer(modulus), integer(exponent))), trailing]);
  return encodeDer(sequence(sequence(oid('1.2.840.113549.1.1.1'), encoded(Buffer.from([5, 0]))), bits(key)));
}

function modulus2048(): Buffer {
  const { n = '' } = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
  return Buffer.from(n, 'base64url');
}

describe('a certificate request', () => {
  it('gives its public key and the names it asks for', () => {
    const { privateKey, publicKey } = freshKey();
    const found = verdict({
      privateKey,
      publicKey,
      commonNames: ['dev-7'],
      extensions: [san(uri('spiffe://a/device/b'), dns('c'))],
    });
    expect(found).toMatchObject({
      ok: true,
      csr: { commonNames: ['dev-7'], alternativeNames: ['url:spiffe://a/device/b', 'dns:c'] },
    });
    expect(found.ok && found.csr.publicKeySpki.equals(publicKey.export({ type: 'spki', format: 'der' }))).toBe(true);
  });

  it('may have no subject, no attributes, a challenge password, and rights that every device has', () => {
    expect(codeOf({})).toBe('ok');
    expect(codeOf({ attributes: [sequence(oid('1.2.840.113549.1.9.7'), set(utf8('secret')))] })).toBe('ok');
    expect(
      codeOf({
        extensions: [
          extension('2.5.29.19', sequence(), 'critical'),
          extension('2.5.29.15', Buffer.from('03020780', 'hex'), 'critical'),
          extension('2.5.29.37', sequence(CLIENT_AUTH)),
          extension('2.5.29.14', octets(Buffer.alloc(20))),
          extension('1.2.3.4', utf8('somebody else reads this')),
        ],
      }),
    ).toBe('ok');
  });

  it.each([
    ['P-384', () => generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['RSA of 2048 bits', () => generateKeyPairSync('rsa', { modulusLength: 2048 })],
  ])('may be for a key on %s', (_name, generate) => {
    expect(codeOf(generate())).toBe('ok');
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['a private key', freshKey().privateKey.export({ type: 'pkcs8', format: 'der' })],
    ['a public key', freshKey().publicKey.export({ type: 'spki', format: 'der' })],
    ['bytes after the end', Buffer.concat([writeTestCsr(), Buffer.from([0])])],
    ['two requests', Buffer.concat([writeTestCsr(), writeTestCsr()])],
    ['half of one', writeTestCsr().subarray(0, 100)],
    ['a length of four gigabytes', Buffer.concat([Buffer.from('3084ffffffff', 'hex'), writeTestCsr()])],
    [
      'an indefinite length',
      Buffer.concat([Buffer.from('3080', 'hex'), writeTestCsr().subarray(3), Buffer.from('0000', 'hex')]),
    ],
    ['another version', writeTestCsr({ version: 1 })],
  ])('is malformed when it is %s', (_what, der) => {
    expect(checkCsr(der)).toMatchObject({ ok: false, code: 'csr_malformed' });
  });

  it.each([
    ['a signature by another key', { privateKey: freshKey().privateKey, publicKey: freshKey().publicKey }],
    ['r and s of zero', { signature: encodeDer(sequence(integer(0), integer(0))) }],
    ['an empty signature', { signature: Buffer.alloc(0) }],
    ['an algorithm of another kind of key', { algorithm: RSA_SHA256 }],
    ['SHA-1', { algorithm: '1.2.840.10045.4.1', hash: 'sha1' }],
    ['another hash than it says', { hash: 'sha384' }],
  ] satisfies [string, TestCsrOptions][])('is badly signed with %s', (_what, order) => {
    expect(codeOf(order)).toBe('csr_signature_invalid');
  });

  it('is badly signed when a byte of what is signed was changed', () => {
    const der = writeTestCsr({ commonNames: ['dev-7'] });
    der[der.indexOf('dev-7') + 4] = '8'.charCodeAt(0);
    expect(checkCsr(der)).toMatchObject({ ok: false, code: 'csr_signature_invalid' });
  });
});

describe('a public key', () => {
  const point = (curve: string) => createECDH(curve).generateKeys();
  const offCurve = () => {
    const bytes = point('prime256v1');
    bytes[64] = (bytes[64] as number) ^ 1;
    return bytes;
  };
  const compressed = () => createECDH('prime256v1').generateKeys(undefined as never, 'compressed') as unknown as Buffer;

  it.each([
    ['EC on P-224', () => ecSpki('1.3.132.0.33', point('secp224r1'))],
    ['EC on secp256k1', () => ecSpki('1.3.132.0.10', point('secp256k1'))],
    ['EC on P-521', () => ecSpki('1.3.132.0.35', point('secp521r1'))],
    ['EC on brainpool P-256', () => ecSpki('1.3.36.3.3.2.8.1.1.7', point('brainpoolP256r1'))],
    [
      'EC with parameters of its own',
      () =>
        generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' }).publicKey.export({
          type: 'spki',
          format: 'der',
        }),
    ],
    ['a point off its curve', () => ecSpki('1.2.840.10045.3.1.7', offCurve())],
    ['the point at infinity', () => ecSpki('1.2.840.10045.3.1.7', Buffer.of(0))],
    ['a compressed point, a second spelling', () => ecSpki('1.2.840.10045.3.1.7', compressed())],
    ['Ed448', () => generateKeyPairSync('ed448').publicKey.export({ type: 'spki', format: 'der' })],
    ['X25519', () => generateKeyPairSync('x25519').publicKey.export({ type: 'spki', format: 'der' })],
    ['DSA', () => readDsaKey()],
    [
      'RSA of 1024 bits',
      () => generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ type: 'spki', format: 'der' }),
    ],
    [
      'RSA of 2044 bits',
      () => rsaSpki(Buffer.concat([Buffer.of(0x0f), Buffer.alloc(254, 0xab), Buffer.of(0x01)]), 65537),
    ],
    [
      'RSA of 4104 bits',
      () => rsaSpki(Buffer.concat([Buffer.of(0xff), Buffer.alloc(511, 0xab), Buffer.of(0x01)]), 65537),
    ],
    [
      'RSA with exponent 3',
      () =>
        generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).publicKey.export({
          type: 'spki',
          format: 'der',
        }),
    ],
    ['RSA with a small factor', () => rsaSpki(Buffer.alloc(256, 0xff), 65537)],
    ['RSA with bytes after its numbers', () => rsaSpki(modulus2048(), 65537, Buffer.from('0500', 'hex'))],
    [
      'RSA-PSS',
      () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'der' }),
    ],
  ])('is refused when it is %s', (_what, spki) => {
    expect(codeOf({ spki: spki() })).toBe('csr_key_unsupported');
  });

  function readDsaKey(): Buffer {
    // Only its algorithm matters: id-dsa with no parameters.
    return encodeDer(sequence(sequence(oid('1.2.840.10040.4.1')), bits(encodeDer(integer(5)))));
  }
});

describe('the extensions that a request asks for', () => {
  it.each([
    ['to be a CA', [extension('2.5.29.19', sequence(boolean(true)))]],
    ['to sign certificates', [extension('2.5.29.15', Buffer.from('03020204', 'hex'))]],
    ['to sign revocation lists', [extension('2.5.29.15', Buffer.from('03020102', 'hex'))]],
    ['to be a server', [extension('2.5.29.37', sequence(SERVER_AUTH))]],
    ['to be a server as well', [extension('2.5.29.37', sequence(CLIENT_AUTH, SERVER_AUTH))]],
    ['something critical that nobody knows', [extension('1.2.3.4', utf8('?'), 'critical')]],
    ['name constraints', [extension('2.5.29.30', sequence(), 'critical')]],
  ])('is forbidden when it is %s', (_what, extensions) => {
    expect(codeOf({ extensions })).toBe('csr_extension_forbidden');
  });

  it.each([
    ['no extension in the list', { extensions: [] }],
    ['an empty list of alternative names', { extensions: [san()] }],
    ['an empty list of purposes', { extensions: [extension('2.5.29.37', sequence())] }],
    ['an extension without contents', { extensions: [extension('2.5.29.17', Buffer.alloc(0))] }],
    ['bytes after an extension', { extensions: [extension('2.5.29.19', Buffer.from('300000', 'hex'))] }],
    ['key usage that is no bit string', { extensions: [extension('2.5.29.15', sequence())] }],
    ['basic constraints that are no sequence', { extensions: [extension('2.5.29.19', integer(1))] }],
    ['an extension twice', { extensions: [san(dns('a')), san(dns('b'))] }],
    ['two lists of extensions', { attributes: [extensionRequest(san(dns('a'))), extensionRequest(san(dns('b')))] }],
    ['an empty attribute', { attributes: [sequence(oid('1.2.840.113549.1.9.14'), set())] }],
    [
      'an extension that is a number',
      { attributes: [sequence(oid('1.2.840.113549.1.9.14'), set(sequence(integer(1))))] },
    ],
    ['an alternative name of no known kind', { extensions: [san(taggedBytes(15, Buffer.from('x')))] }],
  ] satisfies [string, TestCsrOptions][])('is malformed with %s', (_what, order) => {
    expect(codeOf(order)).toBe('csr_malformed');
  });

  it('never make the check throw, whatever they contain', () => {
    const { privateKey, publicKey } = freshKey();
    const ids = fc.constantFrom('2.5.29.15', '2.5.29.17', '2.5.29.19', '2.5.29.37', '2.5.29.14');
    const contents = fc.oneof(
      fc.uint8Array({ maxLength: 24 }),
      fc
        .tuple(fc.constantFrom(0x30, 0x31, 0x03, 0x04, 0xa0, 0x86), fc.uint8Array({ maxLength: 20 }))
        .map(([tag, bytes]) => Uint8Array.from([tag, bytes.length, ...bytes])),
    );
    fc.assert(
      fc.property(ids, contents, (id, bytes) => {
        const extensions = [extension(id, Buffer.from(bytes))];
        expect(['ok', 'csr_malformed', 'csr_extension_forbidden']).toContain(
          codeOf({ privateKey, publicKey, extensions }),
        );
      }),
      { numRuns: 300 },
    );
  });
});

describe.skipIf(!installed('openssl'))('a request made by openssl (skipped where it is not installed)', () => {
  it.each([
    ['EC', ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']],
    ['RSA', ['rsa:2048']],
  ])('for an %s key is accepted, names and all', (_kind, key) => {
    const file = join(testDirectory(), 'request.der');
    const args = [
      'req',
      '-new',
      '-newkey',
      ...key,
      '-nodes',
      '-keyout',
      `${file}.key`,
      '-outform',
      'DER',
      '-out',
      file,
    ];
    execFileSync(
      'openssl',
      [...args, '-subj', '/O=Somewhere/CN=dev-7', '-addext', 'subjectAltName=URI:spiffe://fleet.example/device/dev-7'],
      { stdio: 'ignore' },
    );
    expect(checkCsr(readFileSync(file))).toMatchObject({
      ok: true,
      csr: { commonNames: ['dev-7'], alternativeNames: ['url:spiffe://fleet.example/device/dev-7'] },
    });
  });
});
