/**
 * What the certificate authority of this server holds that can expire: certificates of listeners, CAs, cross-certificates,
 * OCSP signers and CRLs. A few of each, read from memory.
 */

import { X509Certificate } from 'node:crypto';
import type { ExpiringItem, NodeCertificateRecord } from '../../registry/index.ts';
import type { Authority } from '../ca/authority.ts';
import { type CaSet, caId, type KnownCa } from '../ca/ca-set.ts';
import { certificateSerial, readIssuer } from '../x509/certificate-check.ts';

export type ExpiringParts = Pick<Authority, 'cas' | 'serverCertificates' | 'status'> &
  Partial<Pick<Authority, 'nodeCertificates'>>;

export async function listAuthorityItems(parts: ExpiringParts): Promise<ExpiringItem[]> {
  const { cas, serverCertificates, status } = parts;
  const { roots, issuing, allCrossCertificates } = cas;
  return [
    ...((await parts.nodeCertificates?.()) ?? []).map(nodeItem),
    ...serverCertificates.list().map(
      ({ name, serial, notBefore, notAfter, file }): ExpiringItem => ({
        ...{ kind: 'server', name, id: serial, notBefore, expiresAt: notAfter },
        ...(file === undefined
          ? { renewedBy: 'server', action: 'the server' }
          : { renewedBy: 'files', action: `the program that writes ${file}` }),
      }),
    ),
    ...roots.map((ca) => caItem(ca, cas)),
    ...issuing.map((ca) => caItem(ca, cas)),
    ...allCrossCertificates.map((der) => crossCertificateItem(der, roots)),
    ...(await status.listOcspSigners()).map(
      (signer): ExpiringItem => ({
        ...{ kind: 'ocsp-signer', name: `issuing CA ${shortId(signer.caId)}`, id: signer.serial },
        ...{ notBefore: signer.notBefore, expiresAt: signer.notAfter },
        ...{ renewedBy: 'server', action: 'the server, at the next OCSP request' },
      }),
    ),
    ...crlItems(cas, status),
  ];
}

/** Also of a node that does not run: once it has ended, its host has to join again. */
function nodeItem({ name, serial, notBefore, notAfter }: NodeCertificateRecord): ExpiringItem {
  return {
    ...{ kind: 'server', name: `node/${name}`, id: serial, notBefore, expiresAt: notAfter },
    ...{ renewedBy: 'server', action: `the node ${name}, while it runs` },
  };
}

function caItem({ id, record, notBefore, notAfter }: KnownCa, cas: CaSet): ExpiringItem {
  const { role, state } = record;
  const kind = role === 'root' ? 'root' : 'issuing-ca';
  const hasSuccessor = cas.records.some((other) => other.role === role && other.state === 'prepared');
  const step = {
    prepared: 'activate',
    active: hasSuccessor ? 'activate' : role === 'root' ? 'prepare --root' : 'prepare',
    outgoing: `retire ${id}`,
    tainted: `retire ${id}`,
    retired: 'prepare',
  }[state];
  return {
    ...{ kind, name: `${state} ${shortId(id)}`, id, notBefore, expiresAt: notAfter },
    ...{ renewedBy: 'operator', action: `rollcall ca rotate ${step}` },
  };
}

/** Also the intermediate certificates of an imported chain. */
function crossCertificateItem(der: Buffer, roots: readonly KnownCa[]): ExpiringItem {
  const certificate = new X509Certificate(der);
  const subject = caId(readIssuer(der).publicKeySpki);
  const signer = roots.find(({ publicKey }) => certificate.verify(publicKey));
  return {
    ...{ kind: 'cross-certificate', name: `${shortId(subject)} under ${signer ? shortId(signer.id) : 'another CA'}` },
    id: certificateSerial(der),
    notBefore: certificate.validFromDate.getTime(),
    expiresAt: certificate.validToDate.getTime(),
    // While its signer is trusted, devices that know no other root need it.
    ...(signer === undefined
      ? { renewedBy: 'nobody', action: 'nobody: rollcall ca show lists what the fleet trusts' }
      : { renewedBy: 'operator', action: `rollcall ca rotate retire ${signer.id}` }),
  };
}

function crlItems(cas: CaSet, status: ExpiringParts['status']): readonly ExpiringItem[] {
  const byId = new Map(cas.records.map((record) => [record.id, record]));
  return [...status.crlValidity()].map(([id, { issuedAt, nextUpdate }]): ExpiringItem => {
    const isRoot = byId.get(id)?.role === 'root';
    return {
      ...{ kind: 'crl', name: `${isRoot ? 'root' : 'issuing CA'} ${shortId(id)}`, id },
      ...{ notBefore: issuedAt, expiresAt: nextUpdate, renewedBy: 'server' },
      action: isRoot ? 'the server, while it has the key of this root' : 'the server',
    };
  });
}

/** Enough to recognize a CA in a table; the id is beside it. */
function shortId(id: string): string {
  return id.slice(0, 8);
}
