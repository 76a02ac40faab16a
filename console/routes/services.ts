/** Services over the registry: issued a certificate, listed, revoked. */

import { Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { ServiceRecord } from '../../registry/index.ts';
import type { Answer } from '../api/endpoint.ts';
import { serviceEndpoints as endpoints } from '../api/services.ts';
import { addEndpoint } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import { MAX_CERTIFICATES, viewCertificate } from './devices.ts';
import { effectivePolicy } from './policies.ts';
import { revoke } from './revoke-service.ts';
import type { RoutesOptions } from './routes.ts';
import { viewSession } from './sessions.ts';

const SHOWN_SESSIONS = 100;

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
  addEndpoint(app, endpoints.showService, async ({ params: { name } }) => {
    const service = (await registry.listServices()).find((each) => each.name === name);
    if (service === undefined) throw new Problem('service_unknown');
    const own = controls
      .sessions()
      .filter(({ identity }) => identity.kind === 'service' && identity.name === name)
      .sort((one, other) => (one.clientId < other.clientId ? -1 : 1));
    const certificates = await registry.listCertificates({ kind: 'service', name }, MAX_CERTIFICATES);
    return {
      ...viewService(service),
      decidedBy: (await effectivePolicy(registry, `service/${name}`)).decidedBy,
      certificates: certificates.map((certificate) => viewCertificate(certificate, now())),
      sessions: own.slice(0, SHOWN_SESSIONS).map(viewSession),
      sessionCount: own.length,
    };
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
