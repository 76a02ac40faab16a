/**
 * The paths of the enroll server: EST (RFC 7030, corrected by RFC 8951), the revocation list, the time and the window of
 * the next renewal. One table; each line says who may call it. What happens behind them is in `enrollment.ts` and `renewal.ts`.
 */

import {
  CRL_PATHS,
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
import type { Authority } from '../ca/authority.ts';
import type { Counters } from '../counters.ts';
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
  readonly authority: Authority;
  readonly callers: ClientAuthentication;
  readonly enrollment: EnrollmentDeps;
  readonly renewal: RenewalDeps;
  readonly recovery: RecoveryDeps;
  /** Announced with every certificate. */
  readonly mqttUrl: string | undefined;
  readonly renewalWindow: (life: CertificateValidity, holder: Identity) => Promise<RenewalWindow>;
  /** Told after each renewal. */
  readonly renewed: (holder: CertificateHolder) => void;
  readonly now: () => number;
  readonly counts: Counters;
}

export function addRoutes(app: FastifyInstance, deps: RouteDeps): void {
  const { authority, callers, counts, now } = deps;
  // Written anew when a CA comes or goes.
  let bundled: { readonly of: readonly Buffer[]; readonly der: Buffer } | undefined;
  const trustBundle = (): Buffer => {
    const of = authority.trust.certificates;
    if (bundled?.of !== of) bundled = { of, der: writeCertsOnly([...of].reverse()) };
    return bundled.der;
  };
  const csrAttributes = writeCsrAttributes();

  app.get(EST_PATHS.cacerts, { config: { caller: 'public' } }, (_request, reply) =>
    sendBase64(reply, EST_MEDIA_TYPES.certificates, trustBundle()),
  );

  app.get(EST_PATHS.csrattrs, { config: { caller: 'public' } }, (_request, reply) =>
    sendBase64(reply, EST_MEDIA_TYPES.attributes, csrAttributes),
  );

  app.get(CRL_PATHS, { config: { caller: 'public' } }, async (request, reply) => {
    const document = await authority.status.document(request.url.split('?')[0] as string);
    if (document === undefined) throw new Problem('not_found');
    return reply.header('cache-control', `max-age=${document.maxAge}`).type(document.mediaType).send(document.body);
  });

  app.post(EST_PATHS.simpleenroll, { config: { caller: 'token' } }, async (request, reply) => {
    const credential = callers.credential(request);
    const answer = await enrollDevice({ credential, csrDer: csrOf(request), address: request.ip }, deps.enrollment);
    if (!answer.ok) throw answer.problem;
    counts.add('enrollments_total');
    return sendCertificate(reply, answer.certificate.der);
  });

  app.post(EST_PATHS.simplereenroll, { config: { caller: 'renewal' } }, async (request, reply) => {
    const holder = callers.holder(request);
    const order = { csrDer: csrOf(request), address: request.ip };
    const { expiredDer } = holder;
    const answer =
      expiredDer === undefined
        ? await renewCertificate({ holder, ...order }, deps.renewal)
        : await recoverCertificate({ holder: { ...holder, expiredDer }, ...order }, deps.recovery);
    if (!answer.ok) throw answer.problem;
    counts.add('renewals_total');
    deps.renewed(holder);
    return sendCertificate(reply, answer.certificate.der);
  });

  app.get(TIME_PATH, { config: { caller: 'public' } }, (_request, reply) => {
    const at = now();
    const answer: ServerTime = { time: new Date(at).toISOString(), unixMs: at };
    return reply.header('cache-control', 'no-store').header('date', new Date(at).toUTCString()).send(answer);
  });

  app.get(RENEWAL_INFO_PATH, { config: { caller: 'certificate' } }, async (request, reply) => {
    const life = callers.holder(request);
    const window = effectiveWindow(await deps.renewalWindow(life, life.identity), life, now());
    reply.header('cache-control', 'no-store').header('retry-after', pollIntervalSeconds(life));
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

/** On one line and with a length: there are clients that read nothing else (strongSwan 5.9). */
function sendBase64(reply: FastifyReply, mediaType: string, der: Buffer): FastifyReply {
  // RFC 8951 makes this header meaningless; clients of RFC 7030 look for it.
  return reply.header('content-transfer-encoding', 'base64').type(mediaType).send(der.toString('base64'));
}
