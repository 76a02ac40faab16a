/** The state, counts and last error of one SDK device; tells the observer of the run when they change. */

import type { Device, DeviceError } from '@rollcall/device-sdk';
import { asDeviceError } from '@rollcall/device-sdk/building-blocks';
import type { DeviceReport, DeviceState, FailedStep } from './device-report.ts';
import type { DeviceOutcome, ShardContext } from './shard-context.ts';

export class DeviceStatus {
  readonly #index: number;
  readonly #context: ShardContext;
  readonly #unacknowledged: () => number;
  /** Unknown until the server has chosen one, unless the scenario gives it. */
  id: string | undefined;
  #outcome: DeviceOutcome = 'waiting';
  #isEnrolling = false;
  #isConnected = false;
  #isClosed = false;
  #state: DeviceState = 'waiting';
  #since = Date.now();
  #lostAt: number | undefined;
  #sent = 0;
  #acknowledged = 0;
  #lastValue: number | undefined;
  #lastError: DeviceError | undefined;

  constructor(index: number, context: ShardContext, unacknowledged: () => number) {
    this.#index = index;
    this.#context = context;
    this.#unacknowledged = unacknowledged;
  }

  get outcome(): DeviceOutcome {
    return this.#outcome;
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  report(): DeviceReport {
    return {
      index: this.#index,
      id: this.id,
      state: this.#state,
      isEnrolled: this.#outcome === 'in' || this.#outcome === 'connection refused',
      since: this.#since,
      lostAt: this.#lostAt,
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      unacknowledged: this.#unacknowledged(),
      lastValue: this.#lastValue,
      error: this.#lastError?.code,
      reason: this.#lastError?.message,
    };
  }

  enrolling(): void {
    this.#isEnrolling = true;
    this.#update();
  }

  enrolled(): void {
    if (this.#outcome !== 'waiting') return;
    this.#outcome = 'in';
    this.#context.counters.count('enrolled');
    this.#update();
  }

  refused(error: DeviceError): void {
    this.#outcome = 'refused';
    this.#lastError = error;
    this.#context.counters.count('refused');
    this.#update();
  }

  connected(version: Device['mqttVersion']): void {
    this.#isConnected = true;
    this.#context.counters.count('connects');
    this.#context.counters.count(version === '5' ? 'connectsMqtt5' : 'connectsMqtt311');
    this.#update();
  }

  disconnected(): void {
    if (!this.#isConnected) return;
    this.#isConnected = false;
    if (!this.#isClosed) this.#lostAt = Date.now();
    this.#context.counters.count('disconnects');
    this.#update();
  }

  connectionRefused(): void {
    this.#outcome = 'connection refused';
    this.#context.counters.count('connectionRefused');
    this.#update();
  }

  closed(): void {
    this.#isClosed = true;
    this.#update();
  }

  messageSent(value: number | undefined): void {
    this.#context.counters.count('sent');
    this.#sent += 1;
    this.#lastValue = value ?? this.#lastValue;
  }

  /** `latency`: milliseconds since the message was due. */
  messageAcknowledged(latency: number): void {
    const { counters, sdk } = this.#context;
    counters.count('acknowledged');
    counters.record('puback', latency);
    this.#acknowledged += 1;
    sdk.observer?.changed(this.report());
  }

  /** The broker rejected a message for good. */
  messageRejected(reasonCode: number): void {
    this.#context.counters.count('rejected');
    this.#context.counters.reason('puback', reasonCode);
  }

  /** Counts an error by its code, unless it only says that the run ends. */
  failed(thrown: unknown, step: FailedStep): DeviceError {
    const error = asDeviceError(thrown, 'internal');
    if (error.code === 'closed') return error;
    this.#context.counters.error(error.code);
    this.remember(error, step);
    return error;
  }

  remember(error: DeviceError, step: FailedStep): void {
    this.#lastError = error;
    this.#context.sdk.observer?.failed(error, step, this.#index);
  }

  #update(): void {
    const state = this.#currentState();
    if (state === this.#state) return;
    this.#state = state;
    this.#since = Date.now();
    this.#context.sdk.observer?.changed(this.report());
  }

  #currentState(): DeviceState {
    if (this.#outcome === 'refused' || this.#outcome === 'connection refused') return this.#outcome;
    if (this.#isClosed) return 'stopped';
    if (this.#outcome === 'in') return this.#isConnected ? 'connected' : 'connecting';
    return this.#isEnrolling ? 'enrolling' : 'waiting';
  }
}
