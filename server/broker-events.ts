import type { Identity, LifecycleValue } from '@rollcall/protocol';
import type { BrokerEvent, DisconnectReason } from '../broker/index.ts';
import type { RefusedRequest } from '../enroll/index.ts';
import type { RefusedCertificate } from '../limits/index.ts';
import type { FleetEvent } from './events/event-log.ts';

const INITIATOR: Partial<Record<DisconnectReason, 'client' | 'network'>> = {
  client_disconnected: 'client',
  connection_lost: 'network',
  keepalive_timeout: 'network',
};

/**
 * The event, and the source that its rate limit counts. The source is absent when it is the subject of the event. `node`: the name of this one
 * among several.
 */
export function fleetEventOfBroker(event: BrokerEvent, node?: string): readonly [event: FleetEvent, source?: string] {
  const { at } = event;
  if (event.type === 'connect_failed') {
    const { reason, address, detail, identity } = event;
    const data = present({ ip: address, reason, detail, ...refusedCertificateData(event) });
    return [{ type: 'presence.connect_failed', at, component: 'broker', subject: identity, data }, address];
  }
  if (event.type === 'share_exceeded') {
    const { identity, share } = event;
    return [
      { type: 'capacity.share_exceeded', at, component: 'broker', subject: identity, data: present({ ...share }) },
    ];
  }
  const { identity: subject, clientId, serial, address, sequence } = event;
  const client = present({ clientId, certSerial: serial, ip: address, sequence, node });
  switch (event.type) {
    case 'connected':
      return [{ type: 'presence.connected', at, component: 'broker', subject, data: client }];
    case 'disconnected': {
      const { reason, connectedAt } = event;
      const initiator = INITIATOR[reason] ?? 'server';
      const data = { ...client, reason, initiator, connectedMs: Math.max(0, at - connectedAt) };
      return [{ type: 'presence.disconnected', at, component: 'broker', subject, data }];
    }
    case 'acl_denied': {
      const { verb, topic, why } = event;
      return [{ type: 'security.acl_denied', at, component: 'broker', subject, data: { ...client, verb, topic, why } }];
    }
  }
}

/** Why the EST server refused a request, and the source that the rate limit of the event counts. */
export function fleetEventOfEst(refusal: RefusedRequest): readonly [event: FleetEvent, source?: string] {
  const { at, operation, code, reason, address, tokenId, holder, deviceId, certificate } = refusal;
  const data = present({
    actor: tokenId && `token/${tokenId}`,
    refusal: code,
    detail: reason,
    ip: address,
    ...refusedCertificateData(certificate),
  });
  const subject: Identity | undefined = holder ?? (deviceId && { kind: 'device', id: deviceId });
  const type = operation === 'enroll' ? 'enroll.refused' : 'cert.renewal_refused';
  return [{ type, at, component: 'enroll', subject, data }, address];
}

function refusedCertificateData(certificate: RefusedCertificate) {
  return {
    certSubject: certificate.subject,
    certIssuer: certificate.issuer,
    certSan: certificate.san,
    certSerial: certificate.serial,
    certFingerprint: certificate.fingerprint,
    certNotBefore: certificate.notBefore,
    certNotAfter: certificate.notAfter,
  };
}

function present(values: Readonly<Record<string, LifecycleValue | undefined>>): Record<string, LifecycleValue> {
  const found = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(found) as Record<string, LifecycleValue>;
}
