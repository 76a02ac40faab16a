/** Devices: listed, shown with their certificates and live session, and their settings changed. */

import { formatIdentity, type Identity, Problem } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import {
  type CertificateRecord,
  type DeviceCriteria,
  type DeviceRecord,
  type DeviceSettings,
  deviceCursor,
  parseAddressRange,
  type TokenRecord,
} from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { MAX_COUNTED } from '../api/device-list.ts';
import { deviceEndpoints as endpoints } from '../api/devices.ts';
import type { Answer, Checked } from '../api/endpoint.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { pageOf } from '../paging.ts';
import { viewAudit } from './audit.ts';
import { viewOutcomes } from './node-outcomes.ts';
import type { RoutesOptions } from './routes.ts';
import { viewSession } from './sessions.ts';

type DeviceView = Answer<typeof endpoints.setDevice>;
type LineageToken = NonNullable<Answer<typeof endpoints.showDevice>['token']>;
type CertificateView = Answer<typeof endpoints.showDevice>['certificates'][number];

/** Shown of one device, which may have renewed any number of times. */
export const MAX_CERTIFICATES = 1_000;
const MAX_CHILDREN = 100;
const MAX_AUDIT = 50;

export function addDeviceRoutes(app: FastifyInstance, { registry, controls, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.listDevices, async ({ query, reply }) => {
    const { limit, sort, reverse = false } = query;
    await controls.writePresence();
    const { after, cursor } = query;
    const devices = await registry.listDevices({
      ...criteriaOf(query),
      ...{ sort, isReversed: reverse, after, cursor, limit },
    });
    const cursorOf = (device: DeviceRecord) => deviceCursor(device, sort, reverse);
    const view = (device: DeviceRecord) => ({ ...viewDevice(device), cursor: cursorOf(device) });
    return pageOf(reply, devices, {
      limit,
      view,
      cursor: (device) => ({ after: undefined, cursor: cursorOf(device) }),
    });
  });
  addEndpoint(app, endpoints.countDevices, async ({ query }) => {
    await controls.writePresence();
    const count = await registry.countMatchingDevices(criteriaOf(query), MAX_COUNTED);
    return { count, isAtLeast: count === MAX_COUNTED };
  });
  addEndpoint(app, endpoints.showDevice, async ({ params }) => {
    await controls.writePresence();
    const record = await registry.findDevice(params.id);
    if (record === undefined) throw new Problem('device_unknown');
    const holder: Identity = { kind: 'device', id: params.id };
    const certificates = await registry.listCertificates(holder, MAX_CERTIFICATES);
    const { sessions, unanswered } = await controls.sessions({ after: '', limit: 1, identity: holder });
    const [session] = sessions;
    const at = now();
    const [, tokenId] = /^token\/(.+)$/.exec(record.enrolledBy) ?? [];
    const token = tokenId === undefined ? undefined : await registry.findToken(tokenId);
    const children = await registry.listDevices({ labels: { gateway: params.id }, limit: MAX_CHILDREN });
    const lastChange = await registry.lastDeviceChange(params.id);
    const audit = await registry.listAudit({ subject: formatIdentity(holder), limit: MAX_AUDIT });
    return {
      ...viewDevice(record),
      token: token && viewLineageToken(token),
      children: children.map(({ id }) => id),
      audit: audit.map(viewAudit),
      certificates: certificates.map((certificate) => viewCertificate(certificate, at)),
      session: session && viewSession(session),
      unanswered: [...unanswered],
      lastChange: lastChange && {
        act: lastChange.operation,
        at: isoTime(lastChange.at),
        nodes: viewOutcomes(lastChange.nodes),
      },
    };
  });
  addEndpoint(app, endpoints.setDevice, async ({ params, body, actor }) =>
    viewDevice(await registry.setDevice(params.id, settingsOf(body), actor)),
  );
  addEndpoint(app, endpoints.showDeviceSettings, async ({ params }) => {
    const record = await registry.findDevice(params.id);
    if (record === undefined) throw new Problem('device_unknown');
    return viewSettings(record);
  });
  addEndpoint(app, endpoints.changeDeviceSettings, async ({ params, body, actor, expectMatch }) => {
    const check = (current: DeviceRecord) => expectMatch(viewSettings(current));
    return viewSettings(await registry.setDevice(params.id, settingsOf(body), actor, check));
  });
}

function criteriaOf(query: Checked<typeof endpoints.countDevices, 'query'>): DeviceCriteria {
  const { group, status, token, sdkVersion, text, label, online, address } = query;
  const timeOf = (time: string | undefined) => (time === undefined ? undefined : Date.parse(time));
  const pairs = [label ?? []].flat().map((pair) => pair.split('=', 2) as [string, string]);
  return {
    ...{ group, status, token, sdkVersion, text },
    labels: Object.fromEntries(pairs),
    isOnline: online,
    address: address === undefined ? undefined : parseAddressRange(address),
    lastSeenBefore: timeOf(query.lastSeenBefore),
    lastSeenAfter: timeOf(query.lastSeenAfter),
    certificateEndsBefore: timeOf(query.certificateEndsBefore),
  };
}

function viewDevice({ presence, certificateEndsAt, ...record }: DeviceRecord): DeviceView {
  const lastDisconnect = presence?.lastDisconnect;
  return {
    ...record,
    labels: { ...record.labels },
    enrolledAt: isoTime(record.enrolledAt),
    revokedAt: isoTimeIfAny(record.revokedAt),
    restrictedAt: isoTimeIfAny(record.restrictedAt),
    certificateEndsAt: isoTimeIfAny(certificateEndsAt),
    online: presence?.isOnline === true,
    broker: presence?.broker,
    connectedAt: isoTimeIfAny(presence?.connectedAt),
    lastSeenAt: isoTimeIfAny(presence?.lastSeenAt),
    lastAddress: presence?.address,
    mqttVersion: presence?.mqttVersion,
    sdkVersion: presence?.sdkVersion,
    lastDisconnect: lastDisconnect && { at: isoTime(lastDisconnect.at), reason: lastDisconnect.reason },
  };
}

function settingsOf({ group, labels }: Checked<typeof endpoints.setDevice, 'body'>): DeviceSettings {
  return { ...(group !== undefined && { group }), ...(labels !== undefined && { labels }) };
}

function viewSettings({ group, labels }: DeviceRecord): Answer<typeof endpoints.showDeviceSettings> {
  return { group, labels: { ...labels } };
}

function viewLineageToken({ id, state, group, createdAt, createdBy, uses }: TokenRecord): LineageToken {
  return { id, state, group, createdAt: isoTime(createdAt), createdBy, usedBy: uses };
}

export function viewCertificate(record: CertificateRecord, now: number): CertificateView {
  return {
    serial: record.serial,
    notBefore: isoTime(record.notBefore),
    notAfter: isoTime(record.notAfter),
    status: certificateStatus(record, now),
    issuedAt: isoTime(record.issuedAt),
    parentSerial: record.parentSerial,
    token: record.tokenId,
    operator: record.operator,
    address: record.address,
    firstUsedAt: isoTimeIfAny(record.firstUsedAt),
    recovered: record.isRecovered,
    revokedAt: isoTimeIfAny(record.revokedAt),
    revocationReason: record.revocationReason,
  };
}

function certificateStatus(record: CertificateRecord, now: number): CertificateView['status'] {
  if (record.revokedAt !== undefined) return record.revocationReason === 'superseded' ? 'superseded' : 'revoked';
  if (record.supersededAt !== undefined && record.supersededAt <= now) return 'superseded';
  return record.notAfter < now ? 'expired' : 'good';
}
