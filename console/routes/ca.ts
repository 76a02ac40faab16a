/** Certificate authorities and renewals: listed, and the steps of a rotation. */

import { formatIdentity } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { caEndpoints as endpoints } from '../api/ca.ts';
import type { Answer } from '../api/endpoint.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import type { PublishedStatus, PulledRenewals } from '../server-controls.ts';
import type { RoutesOptions } from './routes.ts';

export function addCaRoutes(app: FastifyInstance, { controls: { ca, renewals } }: RoutesOptions): void {
  addEndpoint(app, endpoints.listCas, async () =>
    (await ca.list()).map((view) => ({
      ...view,
      notBefore: isoTime(view.notBefore),
      notAfter: isoTime(view.notAfter),
      preparedAt: isoTime(view.preparedAt),
      activatedAt: isoTimeIfAny(view.activatedAt),
      taintedAt: isoTimeIfAny(view.taintedAt),
      retiredAt: isoTimeIfAny(view.retiredAt),
    })),
  );
  addEndpoint(app, endpoints.showPublishedStatus, async () => viewPublished(await ca.published()));
  addEndpoint(app, endpoints.listStranded, async ({ params: { id }, query: { limit } }) => {
    const { step, count, holders } = await ca.stranded(id, limit);
    return { step, count, holders: holders.map(formatIdentity) };
  });
  addEndpoint(app, endpoints.prepareCa, async ({ body, actor }) => ({ id: await ca.prepare(body.role, actor) }));
  addEndpoint(app, endpoints.activateCa, async ({ params: { id }, body, actor }) => {
    await ca.activate(id, body.strand, actor);
    return { id };
  });
  addEndpoint(app, endpoints.taintCa, async ({ params: { id }, body, actor }) =>
    viewPulled(await ca.taint(id, body.withinSeconds * 1000, actor)),
  );
  addEndpoint(app, endpoints.retireCa, async ({ params: { id }, body, actor }) => {
    await ca.retire(id, body.strand, actor);
    return { id };
  });
  addEndpoint(app, endpoints.requestCa, async () => ({ csrPem: await ca.request() }));
  addEndpoint(app, endpoints.importCa, async ({ body, actor }) => ({ id: await ca.importChain(body.pem, actor) }));
  addEndpoint(app, endpoints.exportRoot, ({ body, actor }) => ca.exportRoot(body.passphrase, actor));
  addEndpoint(app, endpoints.removeRootKey, async ({ body: { id }, actor }) => {
    await ca.removeRootKey(id, actor);
    return { id };
  });
  addEndpoint(app, endpoints.pullRenewals, async ({ body: { group, issuer, withinSeconds }, actor }) =>
    viewPulled(
      await renewals.pull({ group, issuerId: issuer, withinMs: withinSeconds * 1000, reason: 'pulled_forward', actor }),
    ),
  );
  addEndpoint(app, endpoints.renewalStatus, ({ query }) => renewals.status({ group: query.group }));
}

function viewPublished({ cas, ocspSigners }: PublishedStatus): Answer<typeof endpoints.showPublishedStatus> {
  return {
    cas: cas.map(({ caId, role, crl, urls }) => ({
      id: caId,
      role,
      ...(crl !== undefined && {
        crl: { ...crl, issuedAt: isoTime(crl.issuedAt), nextUpdate: isoTime(crl.nextUpdate) },
      }),
      ...(urls !== undefined && { crlUrl: urls.crl }),
      ...(urls?.access !== undefined && { ocspUrl: urls.access.ocsp, certificateUrl: urls.access.caIssuers }),
    })),
    ocspSigners: ocspSigners.map(({ caId, serial, notBefore, notAfter }) => ({
      ca: caId,
      serial,
      notBefore: isoTime(notBefore),
      notAfter: isoTime(notAfter),
    })),
  };
}

function viewPulled({ pulled, services, until, perSecond }: PulledRenewals) {
  return { pulled, services, until: isoTime(until), perSecond };
}
