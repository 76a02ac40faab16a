/** What operators see of records: times become ISO 8601 and identities text. Decides nothing but a certificate's status. */

import { formatIdentity } from '../contract/identity.ts';
import type {
  AuditEntry,
  CertificateRecord,
  DeviceRecord,
  Revocation,
  ServiceRecord,
  TokenRecord,
} from '../registry/registry.ts';
import type { StoredMessage } from '../telemetry/telemetry.ts';
import type { Answer, endpoints } from './endpoints.ts';
import type { LiveSession } from './fleet.ts';
import { showPayload } from './json.ts';

type Endpoints = typeof endpoints;
export type TokenView = Answer<Endpoints['listTokens']>[number];
export type DeviceView = Answer<Endpoints['listDevices']>[number];
export type DeviceDetail = Answer<Endpoints['showDevice']>;
export type CertificateView = DeviceDetail['certificates'][number];
export type RevokeAnswer = Answer<Endpoints['revokeDevices']>;
export type ServiceView = Answer<Endpoints['listServices']>[number];
export type SessionView = Answer<Endpoints['listSessions']>[number];
export type MessageView = Answer<Endpoints['followTelemetry']>;
export type AuditView = Answer<Endpoints['listAudit']>[number];

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

function isoTimeIfAny(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : isoTime(ms);
}

export function viewToken(record: TokenRecord): TokenView {
  return {
    ...record,
    labels: { ...record.labels },
    mintedAt: isoTime(record.mintedAt),
    expiresAt: isoTime(record.expiresAt),
    voidedAt: isoTimeIfAny(record.voidedAt),
  };
}

export function viewDevice(record: DeviceRecord): DeviceView {
  return {
    ...record,
    labels: { ...record.labels },
    enrolledAt: isoTime(record.enrolledAt),
    revokedAt: isoTimeIfAny(record.revokedAt),
  };
}

export function viewCertificate(record: CertificateRecord, now: number): CertificateView {
  return {
    serial: record.serial,
    notBefore: isoTime(record.notBefore),
    notAfter: isoTime(record.notAfter),
    status: record.revokedAt !== undefined ? 'revoked' : record.notAfter < now ? 'expired' : 'good',
    revokedAt: isoTimeIfAny(record.revokedAt),
    revocationReason: record.revocationReason,
  };
}

export function viewRevocation(revocation: Revocation): RevokeAnswer['revocations'][number] {
  return {
    identity: formatIdentity(revocation.holder),
    serials: [...revocation.serials],
    reason: revocation.reason,
    revokedAt: isoTime(revocation.revokedAt),
  };
}

export function viewService(record: ServiceRecord): ServiceView {
  return { ...record, issuedAt: isoTime(record.issuedAt), revokedAt: isoTimeIfAny(record.revokedAt) };
}

export function viewSession(session: LiveSession): SessionView {
  return {
    ...session,
    identity: formatIdentity(session.identity),
    connectedAt: isoTime(session.connectedAt),
    notAfter: isoTime(session.notAfter),
  };
}

export function viewAudit(entry: AuditEntry): AuditView {
  return { ...entry, at: isoTime(entry.at), details: { ...entry.details } };
}

export function viewMessage(message: StoredMessage): MessageView {
  return {
    position: message.position,
    device: message.device,
    stream: message.stream,
    receivedAt: isoTime(message.receivedAt),
    qos: message.qos,
    ...(message.deviceTime !== undefined && { deviceTime: isoTime(message.deviceTime) }),
    ...(message.deviceSequence !== undefined && { deviceSequence: message.deviceSequence }),
    ...(message.key !== undefined && { key: message.key }),
    ...(message.contentType !== undefined && { contentType: message.contentType }),
    ...showPayload(message.payload),
  };
}

/** One line of newline-delimited JSON. */
export function messageJson(message: StoredMessage): string {
  return `${JSON.stringify(viewMessage(message))}\n`;
}
