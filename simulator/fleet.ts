/**
 * A fleet of virtual devices in one process. It knows the product only over the network, through the device SDK: every
 * device has its own key, comes in through the real door, and is treated as any other.
 */

import { join } from 'node:path';
import {
  type DeviceErrorCode,
  type DeviceLog,
  type DeviceOptions,
  type IdentityStore,
  memoryIdentityStore,
} from '@rollcall/device-sdk';
import { seededRandom } from './random-times.ts';
import { FleetCounters, type FleetSnapshot, type VirtualDeviceSnapshot } from './report.ts';
import { VirtualDevice } from './virtual-device.ts';

export interface FleetOptions {
  /** One or more. */
  readonly devices: number;
  /** Bootstrap token with at least as many uses as there are devices. Not needed where `dataDir` holds them all. */
  readonly token?: string;
  /** Messages per second and device; 0 for devices that are only connected. */
  readonly rate: number;
  /** The run ends this long after it began; without it, at `stop` or when `signal` aborts. */
  readonly seconds?: number;
  readonly signal?: AbortSignal;
  /** Keeps each device's identity in a directory of its own here, so that the next run is the same fleet. In memory by default. */
  readonly dataDir?: string;
  /** Where a device keeps its identity, by its index. Not with `dataDir`. */
  readonly storeOf?: (index: number) => IdentityStore;
  /** Devices ask for `<prefix>-0001` and so on; without it the server chooses their names. */
  readonly idPrefix?: string;
  /** Devices that enroll at one time. Default 8. */
  readonly enrollConcurrency?: number;
  /** Telemetry streams, used in turn. Default `temperature`. */
  readonly streams?: readonly string[];
  /** In place of what the enroll server announces. */
  readonly mqttUrl?: string;
  /** The same seed gives the same values and pauses. Default 1. */
  readonly seed?: number;
  /**
   * Devices choose their moments in the first part of each window and pause, more than 0 and at most 1: quicker than a
   * fleet that keeps apart. Default 1.
   */
  readonly haste?: number;
  /** Called at each change of a device: its state, a message acknowledged. */
  readonly onDevice?: (device: VirtualDeviceSnapshot) => void;
  readonly log: DeviceLog;
  readonly now: () => number;
}

export interface FleetReport extends FleetSnapshot {
  /** Why it ended. */
  readonly ended: 'stopped' | 'time is up' | 'nobody left';
}

export interface FleetRun {
  /** Resolves when every device has left. It never rejects: what went wrong is counted in the report. */
  readonly done: Promise<FleetReport>;
  /** Resolves when every device has a certificate and tried to connect with it once, or was refused one. */
  readonly enrolled: Promise<void>;
  snapshot(): FleetSnapshot;
  devices(): readonly VirtualDeviceSnapshot[];
  /** Idempotent; the same promise as `done`. */
  stop(): Promise<FleetReport>;
}

/** Answers that hold for the whole fleet: what one device heard about the token, all others would hear as well. */
const ABOUT_THE_TOKEN: ReadonlySet<DeviceErrorCode> = new Set([
  'token_rejected',
  'token_required',
  'token_malformed',
  'server_untrusted',
]);

const ENROLL_CONCURRENCY = 8;

/** Milliseconds that the last messages have to be acknowledged before the devices leave. */
const FAREWELL_MS = 2_000;

/** Throws a RangeError for options that describe no fleet. */
export function runFleet(options: FleetOptions): FleetRun {
  checkOptions(options);
  const began = options.now();
  const counters = new FleetCounters();
  const ending = new AbortController();
  const fleet = Array.from({ length: options.devices }, (_, index) => makeDevice(options, index, counters));
  const snapshot = () =>
    counters.snapshot(
      options.now() - began,
      fleet.map((device) => device.state),
    );

  const enrolled = enrollAll(fleet, options, ending.signal);
  const over = new Promise<FleetReport['ended']>((resolve) => {
    const timer =
      options.seconds === undefined ? undefined : setTimeout(() => resolve('time is up'), options.seconds * 1_000);
    ending.signal.addEventListener('abort', () => resolve('stopped'), { once: true });
    options.signal?.addEventListener('abort', () => resolve('stopped'), { once: true });
    if (options.signal?.aborted === true) resolve('stopped');
    void enrolled.then(() => {
      if (fleet.every((device) => device.state === 'refused')) resolve('nobody left');
    });
    ending.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  });
  const done = over.then(async (ended) => {
    ending.abort();
    await enrolled;
    await within(
      FAREWELL_MS,
      fleet.map((device) => device.fallSilent()),
    );
    await Promise.all(fleet.map((device) => device.stop()));
    return { ...snapshot(), ended };
  });

  return {
    done,
    enrolled,
    snapshot,
    devices: () => fleet.map((device) => device.snapshot()),
    stop: () => {
      ending.abort();
      return done;
    },
  };
}

/** A few devices at a time, each as soon as one of them is through. */
async function enrollAll(fleet: readonly VirtualDevice[], options: FleetOptions, signal: AbortSignal): Promise<void> {
  let next = 0;
  let hopeless: { readonly code: string; readonly reason: string } | undefined;
  const lane = async () => {
    for (let index = next++; index < fleet.length && !signal.aborted; index = next++) {
      const device = fleet[index] as VirtualDevice;
      if (hopeless !== undefined) {
        device.giveUp(hopeless.code, hopeless.reason);
        continue;
      }
      const outcome = await device.enroll(deviceOptions(options, index, signal), signal);
      const { error, reason = '' } = device.snapshot();
      if (outcome === 'refused' && error !== undefined && ABOUT_THE_TOKEN.has(error as DeviceErrorCode)) {
        options.log.warn({ code: error }, 'no more devices are enrolled');
        hopeless = { code: error, reason };
      }
    }
  };
  await Promise.all(Array.from({ length: options.enrollConcurrency ?? ENROLL_CONCURRENCY }, lane));
}

/** All of them, or as many as the time allows. */
async function within(milliseconds: number, work: readonly Promise<void>[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const impatience = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([Promise.all(work), impatience]);
  clearTimeout(timer);
}

function makeDevice(options: FleetOptions, index: number, counters: FleetCounters): VirtualDevice {
  return new VirtualDevice(
    {
      index,
      devices: options.devices,
      period: options.rate === 0 ? undefined : 1_000 / options.rate,
      streams: options.streams ?? ['temperature'],
      random: seededRandom((options.seed ?? 1) * 1_000_003 + index),
      now: options.now,
      counters,
      log: options.log,
      changed: options.onDevice,
    },
    idOf(options, index),
  );
}

function deviceOptions(options: FleetOptions, index: number, signal: AbortSignal): DeviceOptions {
  const deviceId = idOf(options, index);
  const place =
    options.dataDir === undefined
      ? { store: options.storeOf?.(index) ?? memoryIdentityStore() }
      : { dataDir: join(options.dataDir, deviceId ?? `device-${numbered(index)}`) };
  return {
    ...place,
    ...(options.token === undefined ? {} : { token: options.token }),
    ...(deviceId === undefined ? {} : { deviceId }),
    ...(options.mqttUrl === undefined ? {} : { mqttUrl: options.mqttUrl }),
    clean: true,
    queue: 'memory', // thousands of devices on one disk would measure the disk
    signal,
    log: options.log,
    now: options.now,
    random: hastened(seededRandom((options.seed ?? 1) * 7_368_787 + index), options.haste ?? 1),
  };
}

function hastened(random: () => number, haste: number): () => number {
  return haste === 1 ? random : () => random() * haste;
}

function idOf(options: FleetOptions, index: number): string | undefined {
  return options.idPrefix === undefined ? undefined : `${options.idPrefix}-${numbered(index)}`;
}

function numbered(index: number): string {
  return String(index + 1).padStart(4, '0');
}

function checkOptions(options: FleetOptions): void {
  const { devices, rate, seconds, enrollConcurrency = ENROLL_CONCURRENCY, streams, haste = 1 } = options;
  if (!Number.isInteger(devices) || devices < 1) throw new RangeError('expected one device or more');
  if (!Number.isFinite(rate) || rate < 0) throw new RangeError('expected a rate of zero or more messages per second');
  if (seconds !== undefined && !(seconds > 0)) throw new RangeError('expected a run of more than zero seconds');
  if (!Number.isInteger(enrollConcurrency) || enrollConcurrency < 1) {
    throw new RangeError('expected one enrollment at a time or more');
  }
  if (!(haste > 0 && haste <= 1)) throw new RangeError('expected a haste of more than 0 and at most 1');
  if (streams?.length === 0) throw new RangeError('expected one stream or more');
}
