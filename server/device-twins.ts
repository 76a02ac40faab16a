/** Twins as operators read and write them. Both sides are retained messages that the broker stores; docs/twin.md describes them. */

import {
  asTwinObject,
  type DeviceId,
  mergeTwin,
  Problem,
  readTwinState,
  type TwinState,
  twinDifference,
  twinTopic,
} from '@rollcall/protocol';
import type { Broker } from '../broker/index.ts';
import { type DesiredChange, exceedsDepth, type TwinView } from '../console/index.ts';
import { performAnnouncedAction, type Registry } from '../registry/index.ts';
import { expectActive } from './device-commands.ts';

export interface DeviceTwinsOptions {
  readonly broker: Pick<Broker, 'retained' | 'replaceRetained'>;
  readonly registry: Pick<Registry, 'findDevice' | 'recordAction'>;
  /** The size limit of a packet, bytes: a device cannot receive a larger desired state. */
  readonly packetBytes: number;
}

const NOTHING: TwinState = { version: 0, state: {} };
/** Topic and header of the packet that carries the desired state. */
const PACKET_OVERHEAD = 512;
const MAX_DEPTH = 64;

export class DeviceTwins {
  readonly #options: DeviceTwinsOptions;

  constructor(options: DeviceTwinsOptions) {
    this.#options = options;
  }

  /** Throws Problem `device_unknown`. */
  async read(device: DeviceId): Promise<TwinView> {
    if ((await this.#options.registry.findDevice(device)) === undefined) throw new Problem('device_unknown');
    const desired = readSide(await this.#options.broker.retained(twinTopic(device, 'desired')));
    return viewOf(desired, readReported(await this.#options.broker.retained(twinTopic(device, 'reported'))));
  }

  /**
   * Writes a new desired state, with the next version. Throws Problem `device_unknown`, `twin_version_conflict`, `body_too_large`,
   * `unavailable`, or that of a device that is not active.
   */
  async change({ device, state, mode, ifVersion, actor }: DesiredChange): Promise<TwinView> {
    const { broker, registry, packetBytes } = this.#options;
    expectActive(await registry.findDevice(device));
    const reported = readReported(await broker.retained(twinTopic(device, 'reported')));
    const next = (present: Buffer | undefined): TwinState => {
      const desired = readSide(present) ?? NOTHING;
      if (ifVersion !== undefined && ifVersion !== desired.version) {
        throw new Problem('twin_version_conflict', {
          detail: `expected the desired state to have version ${ifVersion}, found ${desired.version}`,
        });
      }
      // A device ignores what is not newer than the last it knows, also when the broker has lost or deleted that one.
      const version = Math.max(desired.version, reported?.desiredVersion ?? 0) + 1;
      return { version, state: mode === 'merge' ? mergeTwin(desired.state, state) : state };
    };
    let written: TwinState = NOTHING;
    await performAnnouncedAction(
      registry,
      {
        name: 'device.twin',
        actor,
        subject: `device/${device}`,
        details: { mode, ...(ifVersion !== undefined && { ifVersion }) },
        outcome: (bytes: number) => [{ action: 'device.twin.set', details: { version: written.version, bytes } }],
      },
      async () => {
        let bytes = 0;
        await broker.replaceRetained(twinTopic(device, 'desired'), { kind: 'device', id: device }, (present) => {
          written = next(present);
          const payload = Buffer.from(JSON.stringify(written));
          bytes = payload.length;
          if (bytes <= packetBytes - PACKET_OVERHEAD) return payload;
          throw new Problem('body_too_large', {
            detail: `expected a desired state of at most ${packetBytes - PACKET_OVERHEAD} bytes, found ${bytes}`,
          });
        });
        return bytes;
      },
    );
    return viewOf(written, reported);
  }
}

function viewOf(desired: TwinState | undefined, reported: TwinView['reported']): TwinView {
  return { desired, reported, pending: twinDifference(desired?.state ?? {}, reported?.state ?? {}) };
}

/** Undefined for a message that is absent or not a state: services may write anything there. */
function readSide(payload: Buffer | undefined): TwinState | undefined {
  return readTwinState(readJson(payload));
}

function readReported(payload: Buffer | undefined): TwinView['reported'] {
  const json = readJson(payload);
  const side = readTwinState(json);
  if (side === undefined) return undefined;
  const desiredVersion = asTwinObject(json)?.desiredVersion;
  return { ...side, desiredVersion: Number.isSafeInteger(desiredVersion) ? (desiredVersion as number) : undefined };
}

/** Deep nesting would exhaust the stack of what compares the states. */
function readJson(payload: Buffer | undefined): unknown {
  const text = payload?.toString('utf8') ?? '';
  if (exceedsDepth(text, MAX_DEPTH)) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
