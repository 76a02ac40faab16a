/**
 * Creates the next root or issuing CA, and records it as prepared: in the trust bundle, not yet signing. What an
 * interrupted preparation left behind, a key or a signed certificate, is used again.
 */

import { X509Certificate } from 'node:crypto';
import type { Actor, NewIssuer } from '../../registry/index.ts';
import { readIssuer } from '../x509/certificate-check.ts';
import { type CertificateIssuer, caContents, crossCertificateContents } from '../x509/profile.ts';
import { writeCertificate } from '../x509/x509-writer.ts';
import type { CaName, CaRole } from './ca-directory.ts';
import { type CaSet, certificatesInPem, type KnownCa } from './ca-set.ts';
import { newIssuer } from './issuer-record.ts';
import type { RotationOptions } from './rotation.ts';
import type { Signer } from './signer.ts';

export interface NewKey {
  readonly name: CaName;
  readonly signer: Signer;
}

export interface CaPreparation {
  prepareIssuing(actor: Actor): Promise<string>;
  prepareRoot(actor: Actor): Promise<string>;
  /** A key of this role without a certificate. `reserved`: one that a certificate signing request was written for. */
  newKey(role: CaRole, reserved: boolean): Promise<NewKey>;
  /** The certificate by which a known root vouches for another root, DER. */
  crossCertify(rootDer: Buffer, by: KnownCa, signer: Signer): Promise<Buffer>;
  /** Records new CAs and informs every part that uses CAs. */
  record(issuers: readonly NewIssuer[], actor: Actor): Promise<void>;
}

export function createCaPreparation(options: RotationOptions): CaPreparation {
  const { directory, rootKeys, registry, now, log, cas } = options;

  const record = async (issuers: readonly NewIssuer[], actor: Actor): Promise<void> => {
    await registry.addIssuers(issuers, actor);
    for (const { id, role, notAfter } of issuers) {
      log.info({ ca: id, role, notAfter: new Date(notAfter).toISOString() }, 'CA prepared');
    }
    await options.onChanged();
  };

  const signCa = async (role: CaRole, issuer: CertificateIssuer | undefined, publicKeySpki: Buffer, signer: Signer) => {
    const { trustDomain, lifetimes, randomBytes } = options;
    const contents = caContents({ role, issuer, trustDomain, publicKeySpki, lifetimes, now: now(), randomBytes });
    return writeCertificate(contents, signer);
  };

  const crossCertify: CaPreparation['crossCertify'] = (rootDer, by, signer) => {
    const { randomBytes, lifetimes } = options;
    const root = readIssuer(rootDer);
    const { backdateSeconds } = lifetimes;
    return writeCertificate(crossCertificateContents({ root, by, backdateSeconds, now: now(), randomBytes }), signer);
  };

  /** Writes the certificate, records the CA, and returns its id. */
  const save = async ({ name }: NewKey, issuer: NewIssuer, actor: Actor): Promise<string> => {
    await directory.writeCertificate(name, Buffer.from(issuer.der), issuer.chain);
    await record([issuer], actor);
    return issuer.id;
  };

  /** Records a certificate that an interrupted preparation has signed. */
  const resume = async (role: CaRole, rootId: string | undefined, actor: Actor): Promise<string | undefined> => {
    const found = await findUnrecorded(role, rootId, options);
    if (found !== undefined) await record([found], actor);
    return found?.id;
  };

  const prepareIssuing = async (actor: Actor): Promise<string> => {
    const root = signingRoot(cas());
    const resumed = await resume('issuing', root.id, actor);
    if (resumed !== undefined) return resumed;
    const rootKey = await rootKeys.require(root.id);
    const key = await findOrCreateKey('issuing', false, options);
    const der = await signCa('issuing', root, key.signer.publicKeySpki, rootKey.signer);
    return save(key, newIssuer('issuing', der, root.id, certificatesInPem(root.record.chain)), actor);
  };

  const prepareRoot = async (actor: Actor): Promise<string> => {
    const resumed = await resume('root', undefined, actor);
    if (resumed !== undefined) return resumed;
    const old = cas().root;
    const oldKey = await rootKeys.require(old.id);
    const key = await findOrCreateKey('root', false, options);
    const der = await signCa('root', undefined, key.signer.publicKeySpki, key.signer);
    const cross = await crossCertify(der, old, oldKey.signer);
    return save(key, newIssuer('root', der, undefined, [cross]), actor);
  };

  return {
    prepareIssuing,
    prepareRoot,
    newKey: (role, reserved) => findOrCreateKey(role, reserved, options),
    crossCertify,
    record,
  };
}

/** The root that signs the next issuing CA: a prepared one first. */
function signingRoot({ roots, root }: CaSet): KnownCa {
  const inState = (state: string) => roots.find(({ record }) => record.state === state);
  return inState('prepared') ?? inState('active') ?? root;
}

/** A key that no certificate was written for is left over from an interruption. Nobody has seen it, so it is used. */
async function findOrCreateKey(role: CaRole, reserved: boolean, { directory, keys }: RotationOptions): Promise<NewKey> {
  const [keyFiles, uris, certificates, requests] = await Promise.all([
    directory.names('key'),
    directory.names('uri'),
    directory.names('pem'),
    directory.names('csr'),
  ]);
  const unused = [...keyFiles, ...uris].find(
    (name) => name.startsWith(`${role}-`) && !certificates.includes(name) && requests.includes(name) === reserved,
  );
  if (unused !== undefined) {
    const signer = await keys.open(unused);
    if (signer !== undefined) return { name: unused, signer };
  }
  const name = directory.newName(role);
  return { name, signer: await keys.create(name) };
}

/** A certificate that was signed and not recorded before an interruption. */
async function findUnrecorded(
  role: CaRole,
  rootId: string | undefined,
  { directory, cas, now }: RotationOptions,
): Promise<NewIssuer | undefined> {
  const { records, roots } = cas();
  for (const name of await directory.names('pem')) {
    const text = await directory.readText(name, 'pem');
    if (!name.startsWith(`${role}-`) || text === undefined) continue;
    const [der, ...chain] = certificatesInPem(text);
    if (der === undefined) continue;
    const issuer = newIssuer(role, der, rootId, chain);
    const isKnown = records.some(({ id }) => id === issuer.id);
    const root = roots.find(({ id }) => id === rootId);
    const isOwn = role === 'root' || (root !== undefined && new X509Certificate(der).verify(root.publicKey));
    if (!isKnown && isOwn && issuer.notAfter > now()) return issuer;
  }
  return undefined;
}
