import { randomBytes } from 'node:crypto';
import type { Identity } from '@rollcall/protocol';
import { beforeAll, describe, expect, it } from 'vitest';
import { freshKey } from '../../test/fixtures/enroll/test-csr.ts';
import { TEST_LIFETIMES } from '../../test/fixtures/enroll/test-lifetimes.ts';
import { keySigner, type Signer } from '../ca/signer.ts';
import { assertLeaf, type ExpectedIssuer, type ExpectedLeaf, readIssuer } from './certificate-check.ts';
import { encodeDer, octets, sequence } from './der-writer.ts';
import { caContents, createLeafProfiles, serialText } from './profile.ts';
import {
  alternativeNames,
  type CertificateContents,
  caBasicConstraints,
  commonName,
  extendedKeyUsage,
  keyUsage,
  nonCritical,
  OID,
  writeCertificate,
} from './x509-writer.ts';

const DEVICE = { kind: 'device', id: 'dev-7' } as Identity;
const URI = 'spiffe://fleet.example/device/dev-7';

let signer: Signer;
let issuer: ExpectedIssuer;
let contents: CertificateContents;
let expected: ExpectedLeaf;

beforeAll(async () => {
  const now = Date.now();
  const common = { trustDomain: 'fleet.example', lifetimes: TEST_LIFETIMES, randomBytes };
  signer = keySigner(freshKey().privateKey);
  const root = caContents({
    ...common,
    role: 'root',
    issuer: undefined,
    publicKeySpki: signer.publicKeySpki,
    now,
  });
  const view = readIssuer(await writeCertificate(root, signer));
  issuer = view;
  const publicKeySpki = freshKey().publicKey.export({ type: 'spki', format: 'der' });
  contents = createLeafProfiles({ ...common, issuer: view, status: undefined }).client({
    identity: DEVICE,
    publicKeySpki,
    now,
  });
  expected = {
    commonName: 'dev-7',
    names: { uri: URI },
    purpose: 'clientAuth',
    publicKeySpki,
    notBefore: contents.notBefore,
    notAfter: contents.notAfter,
    serial: serialText(contents.serial),
  };
});

describe('the check of an issued certificate', () => {
  it('accepts a certificate that matches its order', async () => {
    assertLeaf(await writeCertificate(contents, signer), expected, issuer);
  });

  it.each([
    ['another subject', () => ({ subject: commonName('dev-8') }), 'expected the subject dev-7 alone'],
    [
      'another key',
      () => ({ publicKeySpki: freshKey().publicKey.export({ type: 'spki', format: 'der' }) }),
      'public key',
    ],
    ['another serial', () => ({ serial: Buffer.alloc(17, 0x41) }), 'expected serial'],
    ['an earlier begin', () => ({ notBefore: contents.notBefore - 1000 }), 'not before'],
    ['a later end', () => ({ notAfter: contents.notAfter + 1000 }), 'not after'],
    ['another issuer name', () => ({ issuer: encodeDer(commonName('someone else')) }), 'name of the issuing CA'],
    [
      'another name',
      () => ({ extensions: replaced(alternativeNames([{ kind: 'uri', value: `${URI}x` }])) }),
      'found other names',
    ],
    [
      'a name more',
      () => ({
        extensions: replaced(
          alternativeNames([
            { kind: 'uri', value: URI },
            { kind: 'dns', value: 'a' },
          ]),
        ),
      }),
      'found other names',
    ],
    ['the rights of a CA', () => ({ extensions: replaced(caBasicConstraints(undefined)) }), 'a CA'],
    [
      'a further key usage',
      () => ({ extensions: replaced(keyUsage(['digitalSignature', 'keyCertSign'])) }),
      'key usage',
    ],
    [
      'the purpose of a server',
      () => ({ extensions: replaced(extendedKeyUsage(OID.serverAuth)) }),
      'expected purposes',
    ],
    [
      'an extension that we never write',
      () => ({ extensions: [...contents.extensions, nonCritical('1.2.3.4', octets(Buffer.alloc(1)))] }),
      'no leaf has',
    ],
    ['an extension twice', () => ({ extensions: [...contents.extensions, contents.extensions[0] as never] }), ''],
    ['an extension missing', () => ({ extensions: contents.extensions.slice(1) }), 'expected basicConstraints'],
  ] as [string, () => Partial<CertificateContents>, string][])('throws at %s', async (_what, change, reason) => {
    const der = await writeCertificate({ ...contents, ...change() }, signer);
    expect(() => assertLeaf(der, expected, issuer)).toThrow(reason);
  });

  it('throws at the signature of another CA', async () => {
    const der = await writeCertificate(contents, keySigner(freshKey().privateKey));
    expect(() => assertLeaf(der, expected, issuer)).toThrow('expected a signature of the issuing CA');
  });

  it('throws at a life beyond that of the CA', async () => {
    const notAfter = issuer.notAfter + 1000;
    const der = await writeCertificate({ ...contents, notAfter }, signer);
    expect(() => assertLeaf(der, { ...expected, notAfter }, issuer)).toThrow('within that of the issuing CA');
  });
});

/** The profile's extensions with one of them in place of its namesake. */
function replaced(extension: ReturnType<typeof nonCritical>): CertificateContents['extensions'] {
  const idOf = (der: Buffer) => der.toString('hex').match(/0603551d(..)/)?.[1];
  const id = idOf(encodeDer(sequence(extension)));
  return contents.extensions.map((own) => (idOf(encodeDer(sequence(own))) === id ? extension : own));
}
