/** Services over the registry: issued a certificate, listed, revoked. */

import { type Identity, Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import type { ServiceRecord } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import type { Answer } from '../api/endpoint.ts';
import { serviceEndpoints as endpoints } from '../api/services.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import { MAX_CERTIFICATES, viewCertificate } from './devices.ts';
import { effectivePolicy } from './policies.ts';
import { MOST_COUNTED, revoke } from './revoke-service.ts';
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
    const identity: Identity = { kind: 'service', name };
    const { sessions, unanswered } = await controls.sessions({ after: '', limit: MOST_COUNTED, identity });
    const certificates = await registry.listCertificates(identity, MAX_CERTIFICATES);
    return {
      ...viewService(service),
      decidedBy: (await effectivePolicy(registry, `service/${name}`)).decidedBy,
      certificates: certificates.map((certificate) => viewCertificate(certificate, now())),
      sessions: sessions.slice(0, SHOWN_SESSIONS).map(viewSession),
      sessionCount: sessions.length,
      unanswered: [...unanswered],
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
