/** Services over the registry: issued a certificate, listed, revoked. */

import type { FastifyInstance } from 'fastify';
import type { ServiceRecord } from '../../registry/index.ts';
import type { Answer } from '../api/endpoint.ts';
import { serviceEndpoints as endpoints } from '../api/services.ts';
import { addEndpoint } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import { revoke } from './revoke-service.ts';
import type { RoutesOptions } from './routes.ts';

type ServiceView = Answer<typeof endpoints.listServices>[number];

export function addServiceRoutes(app: FastifyInstance, { registry, controls, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.issueService, async ({ body, actor }) => {
    const { service, ...credentials } = await controls.issueService({ ...body, actor });
    return { service: viewService(service), ...credentials };
  });
  addEndpoint(app, endpoints.listServices, async ({ query: { after = '', limit }, reply }) => {
    const later = (await registry.listServices()).filter(({ name }) => name > after);
    return pageOf(reply, later, { limit, view: viewService, cursor: ({ name }) => ({ after: name }) });
  });
  addEndpoint(app, endpoints.revokeService, ({ params, body, actor }) =>
    revoke(controls, [{ kind: 'service', name: params.name }], now, async () => [
      await registry.revokeService(params.name, body.reason, actor),
    ]),
  );
}

function viewService(record: ServiceRecord): ServiceView {
  const { issuedAt, expiresAt, revokedAt } = record;
  return {
    ...record,
    issuedAt: isoTime(issuedAt),
    expiresAt: isoTimeIfAny(expiresAt),
    revokedAt: isoTimeIfAny(revokedAt),
  };
}
