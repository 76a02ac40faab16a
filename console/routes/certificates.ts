/** Certificates: the ones that expire soon, and revoking a single one. */

import { formatIdentity, Problem, parseDecimal } from '@rollcall/protocol';
import type { FastifyInstance } from 'fastify';
import { EXPIRING_KINDS, type ExpiryCursor, expiryCursor, isLate, lateSince } from '../../registry/index.ts';
import { addEndpoint } from '../add-endpoint.ts';
import { certificateEndpoints as endpoints } from '../api/certificates.ts';
import { isoTime, isoTimeIfAny } from '../iso-time.ts';
import { viewCertificate } from './devices.ts';
import { viewOutcomes } from './node-outcomes.ts';
import type { RoutesOptions } from './routes.ts';

function cursorText({ at, kind, id }: ExpiryCursor): string {
  return `${at}_${kind}_${id}`;
}

/** The text has the form of a cursor. An unknown kind is refused, because it would begin at another position. */
function readCursor(text: string | undefined): ExpiryCursor | undefined {
  if (text === undefined) return undefined;
  const [digits, kindText, id = ''] = text.split('_');
  const at = parseDecimal(digits, 0);
  const kind = EXPIRING_KINDS.find((each) => each === kindText);
  if (at === undefined || kind === undefined) {
    throw new Problem('request_invalid', { detail: 'query.after: expected the "next" of the page before' });
  }
  return { at, kind, id };
}

/** RFC 7468. */
function pemOf(der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}

export function addCertificateRoutes(app: FastifyInstance, { registry, controls, now }: RoutesOptions): void {
  addEndpoint(app, endpoints.listExpiring, async ({ query }) => {
    const { which, withinSeconds, limit } = query;
    const until = now() + withinSeconds * 1000;
    const kinds = EXPIRING_KINDS.filter((kind) => query.kind?.split(',').includes(kind) ?? true);
    const found = await controls.expiring({ which, until, kinds, after: readCursor(query.after), limit });
    const last = found.at(-1);
    return {
      expiring: found.map((each) => ({
        ...{ kind: each.kind, name: each.name, id: each.id },
        ...(each.group !== undefined && { group: each.group }),
        ...{ validFrom: isoTime(each.notBefore), expiresAt: isoTime(each.expiresAt) },
        ...(isLate(each, now()) && { lateSince: isoTime(lateSince(each)) }),
        ...{ renewedBy: each.renewedBy, action: each.action },
      })),
      ...(last !== undefined && found.length === limit && { next: cursorText(expiryCursor(which, last)) }),
    };
  });
  addEndpoint(app, endpoints.countExpiringWeeks, async () => {
    const { from, weeks, late } = await controls.expiringWeeks();
    return { from: isoTime(from), weeks: weeks.map((week) => ({ ...week })), late: { ...late } };
  });
  addEndpoint(app, endpoints.showCertificate, async ({ params: { serial } }) => {
    const found = await registry.findCertificate(serial);
    if (found === undefined) throw new Problem('certificate_unknown');
    const { holder, issuerId, supersededAt, der } = found;
    const device = holder.kind === 'device' ? await registry.findDevice(holder.id) : undefined;
    return {
      ...viewCertificate(found, now()),
      holder: holder.kind === 'server' ? `server/${holder.name}` : formatIdentity(holder),
      onHold: device?.status === 'suspended',
      issuer: issuerId,
      supersededAt: isoTimeIfAny(supersededAt),
      pem: pemOf(der),
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
      nodes: viewOutcomes(proof.nodes),
      propagationMs: Math.round(proof.propagationMs * 1000) / 1000,
    };
  });
}
