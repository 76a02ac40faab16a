/** The diagnosis of the server and of a device, in the form of the API. `server/diagnosis/` makes it. */

import type { FastifyInstance } from 'fastify';
import { addEndpoint } from '../add-endpoint.ts';
import { diagnosisEndpoints as endpoints } from '../api/diagnosis.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { viewCertificate } from './devices.ts';
import type { RoutesOptions } from './routes.ts';
import { viewSession } from './sessions.ts';

const WEEK_MS = 7 * 86_400_000;

export function addDiagnosisRoutes(app: FastifyInstance, { controls, node, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.examineServer, async ({ query }) => {
    const { findings, enrollUrls, rootSha256 } = await controls.examineServer();
    const own = { node, enrollUrls: [...enrollUrls], rootSha256 };
    if (query.nodes === undefined) return { ...own, findings: [...findings], unanswered: [] };
    const all = await controls.examineFleet();
    return {
      ...own,
      findings: all.findings.map((finding) => ({ ...finding, nodes: [...finding.nodes] })),
      unanswered: [...all.unanswered],
    };
  });
  addEndpoint(app, endpoints.diagnoseDevice, async ({ params, query }) => {
    const since = query.since === undefined ? now() - WEEK_MS : Date.parse(query.since);
    await controls.writePresence();
    const found = await controls.diagnoseDevice({ device: params.id, token: query.token, since });
    const { record, certificate, session } = found;
    const presence = record?.presence;
    return {
      device: found.device,
      serverTime: isoTime(found.serverTime),
      since: isoTime(found.since),
      status: record?.status ?? ('unknown' as const),
      group: record?.group,
      enrolledAt: isoTimeIfAny(record?.enrolledAt),
      restrictedAt: isoTimeIfAny(record?.restrictedAt),
      revokedAt: isoTimeIfAny(record?.revokedAt),
      revocationReason: record?.revocationReason,
      certificate: certificate && viewCertificate(certificate, found.serverTime),
      session: session && viewSession(session),
      online: presence?.isOnline === true,
      broker: presence?.broker,
      connectedAt: isoTimeIfAny(presence?.connectedAt),
      lastSeenAt: isoTimeIfAny(presence?.lastSeenAt),
      lastAddress: presence?.address,
      mqttVersion: presence?.mqttVersion,
      sdkVersion: presence?.sdkVersion,
      lastDisconnect: presence?.lastDisconnect && {
        at: isoTime(presence.lastDisconnect.at),
        reason: presence.lastDisconnect.reason,
      },
      tokens: found.tokens.map(({ id, state, uses, maxUses, expiresAt }) => {
        return { id, state, uses, maxUses, expiresAt: isoTime(expiresAt) };
      }),
      refusals: found.refusals.map((refusal) => ({
        ...refusal,
        firstAt: isoTime(refusal.firstAt),
        lastAt: isoTime(refusal.lastAt),
        addresses: [...refusal.addresses],
      })),
    };
  });
}
