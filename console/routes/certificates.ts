/** Certificates by their end, over the registry. */

import type { FastifyInstance } from 'fastify';
import { certificateEndpoints as endpoints } from '../api/certificates.ts';
import { serve } from '../application.ts';
import { isoTime } from '../iso-time.ts';
import type { RoutesOptions } from './routes.ts';

export function addCertificateRoutes(app: FastifyInstance, { registry, now }: RoutesOptions): void {
  serve(app, endpoints.listExpiring, async ({ query }) => {
    const { which, withinSeconds, limit } = query;
    const [at, serial] = query.after?.split('-') ?? [];
    const after = at === undefined || serial === undefined ? undefined : { at: Number(at), serial };
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
}
