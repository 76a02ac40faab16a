import type { DeviceId, LifecycleEvent } from '@rollcall/protocol';
import type { IPublishPacket } from 'mqtt';
import { ServiceError } from './service-error.ts';

/** A message as it arrived. */
export class Message {
  readonly topic: string;
  readonly payload: Buffer;
  /** Whether it was stored before the subscription: the newest of its topic. */
  readonly retained: boolean;
  /** Whether it may have been delivered before. */
  readonly duplicate: boolean;
  /** Content type and user properties that the sender gave it. */
  readonly contentType: string | undefined;
  readonly userProperties: Readonly<Record<string, string | readonly string[]>>;

  constructor(packet: Pick<IPublishPacket, 'topic' | 'payload' | 'retain' | 'dup' | 'properties'>) {
    this.topic = packet.topic;
    this.payload = Buffer.from(packet.payload);
    this.retained = packet.retain;
    this.duplicate = packet.dup;
    this.contentType = packet.properties?.contentType;
    this.userProperties = { ...(packet.properties?.userProperties as Record<string, string | string[]> | undefined) };
  }

  get text(): string {
    return this.payload.toString('utf8');
  }

  /** The payload as JSON. Throws a ServiceError `request_invalid` for other text. */
  json<T = unknown>(): T {
    try {
      return JSON.parse(this.text) as T;
    } catch {
      throw new ServiceError('request_invalid', { detail: `expected JSON on ${this.topic}` });
    }
  }
}

/** Telemetry of a device. It is stored in the journal already. */
export interface Telemetry extends Message {
  readonly device: DeviceId;
  readonly stream: string;
}

/** An event that a device published. */
export interface DeviceEvent extends Message {
  readonly device: DeviceId;
  readonly type: string;
}

/** The reported state of a device's twin. */
export interface ReportedTwin {
  readonly device: DeviceId;
  /** Grows with each change. */
  readonly version: number;
  /** Newest version of the desired state that the device had stored when it reported. */
  readonly desiredVersion: number | undefined;
  readonly state: Readonly<Record<string, unknown>>;
}

/** An event of the fleet, a CloudEvent: connected, enrolled, revoked. `source` and `id` identify it; it may arrive twice. */
export type FleetEvent = LifecycleEvent;
