/** Events of the fleet as pages read them, and what they change of a device in a list. docs/events.md describes each type. */

import type { AnswerOf } from '../../api.ts';

export type ListedDevice = AnswerOf<'GET /v1/devices'>[number];

export interface FleetEvent {
  readonly id: string;
  /** `presence.connected` */
  readonly type: string;
  /** Of the device; undefined for an event of a service, or of nobody. */
  readonly device: string | undefined;
  readonly time: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Those that change a device in a list. */
export const DEVICE_EVENTS = [
  'presence.connected',
  'presence.disconnected',
  'enroll.enrolled',
  'cert.renewed',
  'cert.recovered',
  'cert.revoked',
  'device.suspended',
  'device.resumed',
  'device.quarantined',
  'device.released',
  'device.deleted',
] as const;

/** `type` is the name of the server-sent event. */
export function readFleetEvent(json: unknown, type: string): FleetEvent {
  const { id, subject, time, data } = json as { subject?: string } & Pick<FleetEvent, 'id' | 'time' | 'data'>;
  return { id, type, device: /^devices\/(.+)$/.exec(subject ?? '')?.[1], time, data };
}

type Change = Partial<Omit<ListedDevice, 'id'>>;

/** Undefined when the event changes nothing. `lastSequence` is of the newest session that is known of the device. */
export function changeBy({ type, time, data }: FleetEvent, lastSequence: number): Change | undefined {
  switch (type) {
    case 'presence.connected':
      return {
        ...{ online: true, connectedAt: time, lastSeenAt: time },
        ...{ ...textOf('lastAddress', data.ip), ...textOf('broker', data.node) },
      };
    case 'presence.disconnected': {
      const lastDisconnect = { at: time, reason: String(data.reason) };
      // The end of a session that another one took over.
      const isOlder = data.reason === 'session_taken_over' || sequenceOf(data) < lastSequence;
      return isOlder ? { lastDisconnect } : { online: false, lastSeenAt: time, lastDisconnect };
    }
    case 'cert.renewed':
    case 'cert.recovered':
    case 'enroll.enrolled':
      return textOf('certificateEndsAt', data.notAfter);
    case 'cert.revoked':
      return { status: 'revoked', revokedAt: time };
    case 'device.suspended':
      return { status: 'suspended', restrictedAt: time };
    case 'device.quarantined':
      return { status: 'quarantined', restrictedAt: time };
    case 'device.resumed':
    case 'device.released':
      return { status: 'active' };
    default:
      return undefined;
  }
}

/** Sessions of one device have growing numbers. */
export function sequenceOf(data: FleetEvent['data']): number {
  return typeof data.sequence === 'number' ? data.sequence : 0;
}

function textOf<K extends string>(name: K, value: unknown): { readonly [N in K]?: string } {
  return typeof value === 'string' ? ({ [name]: value } as { readonly [N in K]: string }) : {};
}
