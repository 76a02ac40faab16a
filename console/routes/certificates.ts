/** Certificates: the ones that expire soon, and revoking a single one. */

import { formatIdentity, parseDecimal } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { certificateEndpoints as endpoints } from '../api/certificates.ts';
import { addEndpoint } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export function addCertificateRoutes(app: FastifyInstance, { registry, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.listExpiring, async ({ query }) => {
    const { which, withinSeconds, limit } = query;
    const [digits, serial] = query.after?.split('-') ?? [];
    const at = parseDecimal(digits, 0);
    const after = at === undefined || serial === undefined ? undefined : { at, serial };
    const found = await registry.listExpiring({ which, until: now() + withinSeconds * 1000, after, limit });
    const last = found.at(-1);
    return {
      certificates: found.map((each) => {
        const lateAt = each.notAfter - (each.notAfter - each.notBefore) / 10;
        return {
          device: each.device,
          group: each.group,
          serial: each.serial,
          notBefore: isoTime(each.notBefore),
          notAfter: isoTime(each.notAfter),
          ...(lateAt <= now() && { lateSince: isoTime(lateAt) }),
        };
      }),
      ...(last !== undefined && found.length === limit && { next: `${last.at}-${last.serial}` }),
    };
  });
  addEndpoint(app, endpoints.revokeCertificate, async ({ params: { serial }, body: { reason }, actor }) => {
    const proof = await registry.revokeCertificate(serial, reason, actor);
    return {
      serial,
      holder: formatIdentity(proof.holder),
      reason: proof.reason,
      revokedAt: isoTime(proof.revokedAt),
      others: proof.others.map((each) => ({
        serial: each.serial,
        proven: each.isUsed,
        descendant: each.isDescendant,
      })),
      lastMessageAt: isoTimeIfAny(proof.lastMessageAt),
      sessionsClosed: proof.sessionsClosed,
      brokersConfirmed: proof.brokersConfirmed,
      propagationMs: Math.round(proof.propagationMs * 1000) / 1000,
    };
  });
}
