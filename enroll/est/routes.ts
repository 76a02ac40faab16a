/**
 * The routes of the EST server: EST itself (RFC 7030, corrected by RFC 8951), CRLs, the time, and the window of the next
 * renewal. Each route declares how its client is authenticated. `enrollment.ts`, `renewal.ts` and `recovery.ts` issue.
 */

import {
  CRL_PATH_PATTERN,
  EST_MEDIA_TYPES,
  EST_PATHS,
  type Identity,
  MQTT_URL_HEADER,
  Problem,
  RENEWAL_INFO_PATH,
  type ServerTime,
  TIME_PATH,
} from '@rollcall/protocol';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { ClientAddresses } from '../../limits/index.ts';
import type { TrustBundle } from '../ca/trust-bundle.ts';
import type { Counters } from '../counters.ts';
import type { StatusPublication } from '../status/status-publication.ts';
import { writeCertsOnly, writeCsrAttributes } from '../x509/x509-writer.ts';
import type { ClientAuthentication } from './client-authentication.ts';
import type { CertificateHolder } from './client-certificate.ts';
import { type EnrollmentDeps, enrollDevice } from './enrollment.ts';
import { type RecoveryDeps, recoverCertificate } from './recovery.ts';
import { type RenewalDeps, renewCertificate } from './renewal.ts';
import {
  type CertificateValidity,
  effectiveWindow,
  pollIntervalSeconds,
  type RenewalWindow,
  renewalNotice,
} from './renewal-windows.ts';
import { decodeBase64 } from './request-body.ts';

export interface RouteDeps {
  readonly trust: Pick<TrustBundle, 'certificates'>;
  readonly status: Pick<StatusPublication, 'document'>;
  readonly authentication: ClientAuthentication;
  readonly addresses: ClientAddresses;
  readonly enrollment: EnrollmentDeps;
  readonly renewal: RenewalDeps;
  readonly recovery: RecoveryDeps;
  /** Sent with every certificate. */
  readonly mqttUrl: string | undefined;
  readonly renewalWindow: (validity: CertificateValidity, holder: Identity) => Promise<RenewalWindow>;
  /** Called after each renewal with the certificate that authenticated it. */
  readonly onRenewed: (holder: CertificateHolder) => void;
  readonly now: () => number;
  readonly counters: Counters;
}

export function addRoutes(app: FastifyInstance, deps: RouteDeps): void {
  const { trust, status, authentication, counters, now } = deps;
  const addressOf = (request: FastifyRequest) => deps.addresses.of(request.raw.socket);
  // Encoded again only when the CAs have changed.
  let encoded: { readonly of: readonly Buffer[]; readonly der: Buffer } | undefined;
  const caCertificates = (): Buffer => {
    const of = trust.certificates;
    if (encoded?.of !== of) encoded = { of, der: writeCertsOnly([...of].reverse()) };
    return encoded.der;
  };
  const csrAttributes = writeCsrAttributes();

  app.get(EST_PATHS.cacerts, { config: { authentication: 'public' } }, (_request, reply) =>
    sendBase64(reply, EST_MEDIA_TYPES.certificates, caCertificates()),
  );

  app.get(EST_PATHS.csrattrs, { config: { authentication: 'public' } }, (_request, reply) =>
    sendBase64(reply, EST_MEDIA_TYPES.attributes, csrAttributes),
  );

  app.get(CRL_PATH_PATTERN, { config: { authentication: 'public' } }, async (request, reply) => {
    const document = await status.document(request.url.split('?')[0] as string);
    if (document === undefined) throw new Problem('not_found');
    return reply.header('cache-control', `max-age=${document.maxAge}`).type(document.mediaType).send(document.body);
  });

  app.post(EST_PATHS.simpleenroll, { config: { authentication: 'token' } }, async (request, reply) => {
    const credential = authentication.credential(request);
    const result = await enrollDevice(
      { credential, csrDer: csrOf(request), address: addressOf(request) },
      deps.enrollment,
    );
    if (!result.ok) throw result.problem;
    counters.add('enrollments_total');
    return sendCertificate(reply, result.certificate.der);
  });

  app.post(EST_PATHS.simplereenroll, { config: { authentication: 'renewal' } }, async (request, reply) => {
    const holder = authentication.holder(request);
    const csr = { csrDer: csrOf(request), address: addressOf(request) };
    const { expiredDer } = holder;
    const result =
      expiredDer === undefined
        ? await renewCertificate({ holder, ...csr }, deps.renewal)
        : await recoverCertificate({ holder: { ...holder, expiredDer }, ...csr }, deps.recovery);
    if (!result.ok) throw result.problem;
    counters.add('renewals_total');
    deps.onRenewed(holder);
    return sendCertificate(reply, result.certificate.der);
  });

  app.get(TIME_PATH, { config: { authentication: 'public' } }, (_request, reply) => {
    const at = now();
    const time: ServerTime = { time: new Date(at).toISOString(), unixMs: at };
    // For a check of both servers before any device enrolls.
    if (deps.mqttUrl !== undefined) reply.header(MQTT_URL_HEADER, deps.mqttUrl);
    return reply.header('cache-control', 'no-store').header('date', new Date(at).toUTCString()).send(time);
  });

  app.get(RENEWAL_INFO_PATH, { config: { authentication: 'certificate' } }, async (request, reply) => {
    const holder = authentication.holder(request);
    const window = effectiveWindow(await deps.renewalWindow(holder, holder.identity), holder, now());
    reply.header('cache-control', 'no-store').header('retry-after', pollIntervalSeconds(holder));
    return reply.send(renewalNotice(window, now()));
  });

  /** The issued certificate alone (RFC 7030, section 4.2.3); its issuer is in the trust bundle. */
  function sendCertificate(reply: FastifyReply, der: Uint8Array): FastifyReply {
    if (deps.mqttUrl !== undefined) reply.header(MQTT_URL_HEADER, deps.mqttUrl);
    reply.header('cache-control', 'no-store');
    return sendBase64(reply, EST_MEDIA_TYPES.certificates, writeCertsOnly([der]));
  }
}

function csrOf(request: FastifyRequest): Buffer {
  const der = Buffer.isBuffer(request.body) ? decodeBase64(request.body.toString('latin1')) : undefined;
  if (der === undefined) throw new Problem('csr_malformed', { reason: 'expected a body of base64' });
  return der;
}

/** On one line and with a content length: some clients read nothing else (strongSwan 5.9). */
function sendBase64(reply: FastifyReply, mediaType: string, der: Buffer): FastifyReply {
  // RFC 8951 makes this header meaningless; clients of RFC 7030 expect it.
  return reply.header('content-transfer-encoding', 'base64').type(mediaType).send(der.toString('base64'));
}
