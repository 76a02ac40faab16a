/** Devices over the registry and the live sessions: listed, shown with their certificates, revoked. */

import type { FastifyInstance } from 'fastify';
import type { DeviceId, Identity } from '../../contract/identity.ts';
import { Problem } from '../../contract/problem.ts';
import type { CertificateRecord, DeviceRecord, Registry } from '../../registry/registry.ts';
import { deviceEndpoints as endpoints } from '../api/devices.ts';
import type { Answer } from '../api/endpoint.ts';
import { serve } from '../application.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { revoke } from './revoke.ts';
import type { RoutesOptions } from './routes.ts';
import { viewSession } from './sessions.ts';

type DeviceView = Answer<typeof endpoints.listDevices>[number];
type CertificateView = Answer<typeof endpoints.showDevice>['certificates'][number];

export function addDeviceRoutes(app: FastifyInstance, { registry, fleet, now }: RoutesOptions): void {
  serve(app, endpoints.listDevices, async ({ query }) => {
    const { group, status, after, limit } = query;
    const devices = await registry.listDevices({
      limit,
      ...(group !== undefined && { group }),
      ...(status !== undefined && { status }),
      ...(after !== undefined && { after }),
    });
    return devices.map(viewDevice);
  });
  serve(app, endpoints.showDevice, async ({ params }) => {
    const record = await registry.findDevice(params.id);
    if (record === undefined) throw new Problem('device_unknown');
    const holder: Identity = { kind: 'device', id: params.id };
    const certificates = await registry.listCertificates(holder);
    const session = fleet.sessions().find(({ identity }) => identity.kind === 'device' && identity.id === params.id);
    const at = now();
    return {
      ...viewDevice(record),
      certificates: certificates.map((certificate) => viewCertificate(certificate, at)),
      session: session && viewSession(session),
    };
  });
  serve(app, endpoints.revokeDevices, ({ body, actor }) => {
    const holders = body.ids.map((id): Identity => ({ kind: 'device', id }));
    return revoke(fleet, holders, now, () =>
      registry
        .revokeDevices(body.ids, body.reason, actor)
        .catch((error: unknown) => nameUnknown(registry, body.ids, error)),
    );
  });
}

/** In a list of a thousand the operator wants to know which one was misspelt. */
async function nameUnknown(registry: Registry, ids: readonly DeviceId[], error: unknown): Promise<never> {
  if (!(error instanceof Problem) || error.code !== 'device_unknown') throw error;
  const found = await Promise.all(ids.map((id) => registry.findDevice(id)));
  const unknown = ids.filter((_, index) => found[index] === undefined);
  const names = `${unknown.slice(0, 5).join(', ')}${unknown.length > 5 ? ` and ${unknown.length - 5} more` : ''}`;
  throw new Problem('device_unknown', { detail: `there is no device ${names}; none was revoked`, cause: error });
}

function viewDevice(record: DeviceRecord): DeviceView {
  return {
    ...record,
    labels: { ...record.labels },
    enrolledAt: isoTime(record.enrolledAt),
    revokedAt: isoTimeIfAny(record.revokedAt),
  };
}

function viewCertificate(record: CertificateRecord, now: number): CertificateView {
  return {
    serial: record.serial,
    notBefore: isoTime(record.notBefore),
    notAfter: isoTime(record.notAfter),
    status: record.revokedAt !== undefined ? 'revoked' : record.notAfter < now ? 'expired' : 'good',
    revokedAt: isoTimeIfAny(record.revokedAt),
    revocationReason: record.revocationReason,
  };
}
