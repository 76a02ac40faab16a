import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import type { FastifyRequest } from 'fastify';
import { expect, it } from 'vitest';
import { ClientAddresses } from '../../limits/index.ts';
import { type CertificateOrder, createIssuing, createRoot, issue } from '../../test/fixtures/broker/certificates.ts';
import { createClientCertHeader } from './client-cert-header.ts';

const NOW = Date.UTC(2026, 5, 1);
const DAY = 86_400_000;
const root = createRoot('root');
const issuer = createIssuing(root, 'issuing');
const foreign = createIssuing(root, 'issuing');
const addresses = new ClientAddresses();
const socket = {} as Socket;
addresses.record(socket, { address: '10.0.0.7', isProxied: false });
const header = createClientCertHeader({
  from: ['10.0.0.7'],
  addresses,
  issuer: { hasIssued: (certificate) => certificate.verify(new X509Certificate(issuer.pem).publicKey) },
  now: () => NOW,
});

function clientOf(order: Partial<CertificateOrder>) {
  const dates = { notBefore: NOW - DAY, notAfter: NOW + DAY };
  const { chain } = issue({ issuer, names: [], purposes: ['clientAuth'], ...dates, ...order } as CertificateOrder);
  const bytes = new X509Certificate(chain).raw.toString('base64');
  return header.clientOf({ raw: { socket }, headers: { 'client-cert': `:${bytes}:` } } as unknown as FastifyRequest);
}

it.each<[string, Partial<CertificateOrder>, string | null]>([
  ['that is good', {}, null],
  ['that has expired', { notAfter: NOW - 1000 }, 'CERT_HAS_EXPIRED'],
  ['that is not valid yet', { notBefore: NOW + 1000 }, 'CERT_NOT_YET_VALID'],
  ['of a server', { purposes: ['serverAuth'] }, 'INVALID_PURPOSE'],
  ['of another CA with the same name', { issuer: foreign }, 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'],
  ['of another CA that has expired', { issuer: foreign, notAfter: NOW - 1000 }, 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'],
])('a certificate %s is verified here, whatever the proxy found', (_name, order, error) => {
  expect(clientOf(order)).toMatchObject({ authorized: error === null, authorizationError: error });
});
