import { encodePayload } from '@rollcall/device-sdk/building-blocks';
import { type DeviceId, mergeTwin, readTwinState, type TwinObject, twinTopic } from '@rollcall/protocol';
import type { BrokerConnection } from './broker-connection.ts';
import type { Requests } from './requests.ts';
import { ServiceError } from './service-error.ts';
import type { Message, ReportedTwin } from './service-message.ts';

/** One side of a twin. */
export interface TwinSide {
  /** Grows with each change. */
  readonly version: number;
  readonly state: Readonly<Record<string, unknown>>;
}

/** The twin of one device, as a service reads and writes it. */
export class ServiceTwin {
  readonly #device: DeviceId;
  readonly #requests: Requests;
  readonly #connection: BrokerConnection;
  #writing: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(device: DeviceId, requests: Requests, connection: BrokerConnection) {
    this.#device = device;
    this.#requests = requests;
    this.#connection = connection;
  }

  /** What the fleet wants of the device; undefined when nothing was set. */
  async desired(): Promise<TwinSide | undefined> {
    const message = await this.#requests.retained(twinTopic(this.#device, 'desired'));
    return message === undefined ? undefined : readTwinState(parsed(message));
  }

  /** What the device reported last; undefined when it reported nothing. */
  async reported(): Promise<ReportedTwin | undefined> {
    const message = await this.#requests.retained(twinTopic(this.#device, 'reported'));
    return message === undefined ? undefined : readReported(this.#device, message);
  }

  /**
   * Replaces the desired state, whose version becomes one more than that of the state before it. Resolves to the version when the broker
   * has stored it. Writers of one `Service` wait for each other; writers in different processes need a lock of their own.
   */
  setDesired(state: Readonly<Record<string, unknown>>): Promise<number> {
    return this.#write(() => state);
  }

  /** As {@link setDesired}, with a JSON merge patch (RFC 7396) on the state before: `null` removes a member. */
  patchDesired(patch: Readonly<Record<string, unknown>>): Promise<number> {
    return this.#write((before) => mergeTwin(before, patch));
  }

  #write(change: (before: TwinObject) => TwinObject): Promise<number> {
    const written = this.#writing.then(async () => {
      const before = (await this.desired()) ?? { version: 0, state: {} };
      const version = before.version + 1;
      const payload = encodePayload({ version, state: change(before.state) });
      await this.#connection.publish(twinTopic(this.#device, 'desired'), payload, { qos: 1, retain: true });
      return version;
    });
    this.#writing = written.catch(() => {});
    return written;
  }
}

/** Throws `request_invalid` for a message that is no reported state. */
export function readReported(device: DeviceId, message: Message): ReportedTwin {
  const value = parsed(message);
  const twin = readTwinState(value);
  if (twin === undefined)
    throw new ServiceError('request_invalid', { detail: `expected a twin state on ${message.topic}` });
  const { desiredVersion } = value as { readonly desiredVersion?: unknown };
  return {
    device,
    ...twin,
    desiredVersion: Number.isSafeInteger(desiredVersion) ? (desiredVersion as number) : undefined,
  };
}

function parsed(message: Message): unknown {
  return message.json();
}
