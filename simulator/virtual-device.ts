/**
 * One device of a simulated fleet: the real SDK with a behaviour. It enrolls through the real door, publishes a
 * wandering value at its pace, and stays away once it is cut off.
 */

import { performance } from 'node:perf_hooks';
import { Device, type DeviceError, type DeviceLog, type DeviceOptions, type DeviceState } from '@rollcall/device-sdk';
import { asDeviceError, backoffDelay, retryAfterDelay } from '@rollcall/device-sdk/building-blocks';
import { firstMessageAt, nextMessageAt, randomWalk } from './random-times.ts';
import type { FleetCounters, VirtualDeviceSnapshot, VirtualDeviceState } from './report.ts';

export interface Behaviour {
  readonly index: number;
  readonly devices: number;
  /** Milliseconds between two messages; undefined for a device that never speaks. */
  readonly period: number | undefined;
  readonly streams: readonly string[];
  readonly random: () => number;
  readonly now: () => number;
  readonly counters: FleetCounters;
  readonly log: DeviceLog;
  readonly changed: ((snapshot: VirtualDeviceSnapshot) => void) | undefined;
}

/** `done`: it has a certificate. `refused`: it won't get one. `stopped`: the run ended first. */
export type EnrollmentOutcome = 'done' | 'refused' | 'stopped';

/** Codes after which a device asks again; every other one is an answer. */
const PASSING: ReadonlySet<string> = new Set(['rate_limited', 'unavailable', 'server_unreachable', 'internal']);

/** Milliseconds between two tries to enroll while the server can't be reached. */
const ENROLL_BACKOFF = { base: 500, cap: 15_000, refusalFloor: 15_000 };

export class VirtualDevice {
  readonly #behaviour: Behaviour;
  readonly #measure: () => number;
  #device: Device | undefined;
  #state: VirtualDeviceState = 'waiting';
  #since: number;
  #id: string | undefined;
  #sent = 0;
  #acknowledged = 0;
  #lostAt: number | undefined;
  #lastValue: number | undefined;
  #error: string | undefined;
  #reason: string | undefined;
  #hasConnected = false;
  #timer: NodeJS.Timeout | undefined;
  #due = 0;
  #isLeaving = false;
  readonly #unanswered = new Set<Promise<void>>();

  constructor(behaviour: Behaviour, id: string | undefined) {
    this.#behaviour = behaviour;
    this.#measure = randomWalk(behaviour.random);
    this.#since = behaviour.now();
    this.#id = id;
  }

  get state(): VirtualDeviceState {
    return this.#state;
  }

  snapshot(): VirtualDeviceSnapshot {
    return {
      index: this.#behaviour.index,
      id: this.#id,
      state: this.#state,
      since: this.#since,
      lostAt: this.#lostAt,
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      lastValue: this.#lastValue,
      error: this.#error,
      reason: this.#reason,
    };
  }

  /**
   * Asks until the server answers for good, honouring its Retry-After, and waits for the outcome of the first try to
   * connect, so that a fleet that is enrolled already doesn't connect all at once. `signal` ends both.
   */
  async enroll(options: DeviceOptions, signal: AbortSignal): Promise<EnrollmentOutcome> {
    this.#become('enrolling');
    for (let earlier = 0; !signal.aborted; earlier += 1) {
      try {
        const device = await Device.open(options);
        this.#adopt(device);
        await firstOutcome(device, signal);
        return 'done';
      } catch (thrown) {
        const error = asDeviceError(thrown, 'internal');
        this.#note(error);
        if (!PASSING.has(error.code)) {
          this.#become('refused');
          return 'refused';
        }
        const wait = this.#enrollDelay(error, earlier);
        this.#behaviour.log.info({ index: this.#behaviour.index, code: error.code, wait }, 'enrollment postponed');
        await pause(wait, signal);
      }
    }
    return 'stopped';
  }

  /** It was not asked to enroll: another device learned that there is nothing to be had. */
  giveUp(code: string, reason: string): void {
    this.#error = code;
    this.#reason = reason;
    this.#become('refused');
  }

  /** Says nothing more; resolves when all it said is answered. */
  async fallSilent(): Promise<void> {
    this.#isLeaving = true;
    clearTimeout(this.#timer);
    await Promise.all(this.#unanswered);
  }

  /** Leaves the fleet; `cut off` and `refused` stay what they are. */
  async stop(): Promise<void> {
    this.#isLeaving = true;
    clearTimeout(this.#timer);
    if (this.#state !== 'cut off' && this.#state !== 'refused') this.#become('stopped');
    await this.#device?.close();
  }

  #adopt(device: Device): void {
    this.#device = device;
    this.#id = device.id;
    this.#behaviour.counters.enrolled += 1;
    device.onState((state, error) => this.#follow(state, error));
    this.#follow(device.state, device.lastError);
  }

  #follow(state: DeviceState, error: DeviceError | undefined): void {
    if (this.#state === 'stopped' || this.#state === 'cut off') return;
    if (error !== undefined) this.#note(error);
    if (state === 'connected') {
      if (!this.#hasConnected) this.#behaviour.counters.everConnected += 1;
      this.#hasConnected = true;
      this.#become('connected');
      this.#startSpeaking();
      return;
    }
    if (state === 'renewing') return; // it goes on speaking, and what it says waits
    clearTimeout(this.#timer);
    if (this.#state === 'connected') this.#lostAt = this.#behaviour.now();
    if (state === 'revoked' || (state === 'recovering' && error?.code === 'connection_refused')) {
      this.#become('cut off');
      void this.#device?.close();
    } else if (this.#state !== 'connecting' && state !== 'closed') this.#become('connecting');
  }

  #startSpeaking(): void {
    const { index, devices, period, random, now } = this.#behaviour;
    if (period === undefined || this.#isLeaving) return;
    clearTimeout(this.#timer);
    this.#due = now() + firstMessageAt(index, devices, period, random);
    this.#waitForTurn();
  }

  #waitForTurn(): void {
    this.#timer = setTimeout(() => this.#speak(), Math.max(0, this.#due - this.#behaviour.now()));
  }

  #speak(): void {
    const { streams, now, period, counters } = this.#behaviour;
    const time = now();
    const value = this.#measure();
    const stream = streams[this.#sent % streams.length] as string;
    this.#sent += 1;
    counters.sent += 1;
    this.#lastValue = value;
    counters.lastValue = value;
    this.#due = nextMessageAt(this.#due, period as number, time);
    this.#waitForTurn();
    const payload = { seq: this.#sent, time: new Date(time).toISOString(), value };
    const answered = this.#publish(stream, payload).finally(() => this.#unanswered.delete(answered));
    this.#unanswered.add(answered);
  }

  async #publish(stream: string, payload: object): Promise<void> {
    const { counters } = this.#behaviour;
    const began = performance.now();
    try {
      await (this.#device as Device).publish(stream, payload);
      this.#acknowledged += 1;
      counters.acknowledge(performance.now() - began);
      this.#tell();
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      if (error.code !== 'closed') counters.failed += 1;
      this.#note(error);
    }
  }

  #enrollDelay(error: DeviceError, earlier: number): number {
    const { random } = this.#behaviour;
    if (error.retryAfter !== undefined) return retryAfterDelay(error.retryAfter, random);
    return backoffDelay({ kind: 'lost', earlier: earlier + 1 }, random, ENROLL_BACKOFF);
  }

  #note(error: DeviceError): void {
    if (error.code === 'closed') return; // our own doing
    this.#error = error.code;
    this.#reason = error.message;
    this.#behaviour.counters.error(error.code, error.message);
    this.#tell();
  }

  #become(state: VirtualDeviceState): void {
    this.#state = state;
    this.#since = this.#behaviour.now();
    this.#tell();
  }

  #tell(): void {
    this.#behaviour.changed?.(this.snapshot());
  }
}

/** Resolves when the device is connected, or is not and knows why. */
function firstOutcome(device: Device, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (device.state === 'connecting' && !signal.aborted) return;
      forget();
      signal.removeEventListener('abort', check);
      resolve();
    };
    const forget = device.onState(check);
    signal.addEventListener('abort', check);
    check();
  });
}

/** Resolves after `milliseconds`, or when `signal` says so. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener('abort', done);
    if (signal.aborted) done();
  });
}
