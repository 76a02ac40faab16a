import type { DeviceId } from '@rollcall/protocol';
import { backoffDelay, retryAfterDelay } from '../backoff.ts';
import { Device } from '../device.ts';
import type { ClockStatus } from '../device-clock.ts';
import { asDeviceError, DeviceError } from '../device-error.ts';
import type { EnrollAgainOptions, PublishOptions, TelemetryOptions } from '../device-options.ts';
import type { DeviceLog, DeviceState, StateReason } from '../device-state.ts';
import { fileIdentityStore } from '../file-identity-store.ts';
import { Listeners } from '../listeners.ts';
import type { OutboxStatus } from '../outbox.ts';
import type { Payload } from '../payload.ts';
import type { Receipt } from '../receipt.ts';
import { validityOf } from '../renewer.ts';
import type { Schedule } from '../schedule.ts';
import { SerialQueue } from '../serial-queue.ts';
import type { CommandQueue } from './command-queue.ts';
import type { AgentSettings } from './settings.ts';
import { fileVersion, readTokenFile } from './token-file.ts';

export interface AgentStatus {
  readonly version: string;
  readonly state: DeviceState;
  readonly reason: StateReason;
  /** When this state began, ISO 8601. */
  readonly since: string;
  /** The last error, until it is resolved. */
  readonly error: { readonly code: string; readonly serverReason?: string; readonly message: string } | null;
  /** Null until the device is enrolled, as the two after it. */
  readonly device: string | null;
  readonly broker: string | null;
  readonly certificateEnds: string | null;
  readonly queue: OutboxStatus | null;
  readonly clock: ClockStatus | null;
}

export interface AgentDeviceOptions {
  readonly settings: AgentSettings;
  readonly version: string;
  readonly commandQueue: CommandQueue;
  readonly now: () => number;
  readonly random: () => number;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

/** How often a token file is looked at, when only another token can help. */
const TOKEN_LOOK_MS = 5_000;
/** Applications that wait for the device to be enrolled, at most: each holds a payload in memory. */
const WAITING_MAX = 64;

/** Answers that the same question gets again: only another token, or a hand on this machine, changes them. */
const FINAL: ReadonlySet<string> = new Set([
  'token_required',
  'token_malformed',
  'identity_unusable',
  'private_key_exposed',
]);

export class AgentDevice {
  readonly #options: AgentDeviceOptions;
  readonly #listeners = new Listeners<[DeviceState]>();
  readonly #ending = new AbortController();
  #device: Device | undefined;
  #state: DeviceState = 'unenrolled';
  #reason: StateReason = 'no identity';
  #since: number;
  #error: DeviceError | undefined;
  #failures = 0;
  #cancel: (() => void) | undefined;
  /** One try to open or enroll after the other. */
  readonly #serial = new SerialQueue();
  /** What the token file was, while only another token can help. */
  #refusedToken: string | undefined;
  readonly #waiting = new Set<() => void>();

  constructor(options: AgentDeviceOptions) {
    this.#options = options;
    this.#since = options.now();
  }

  /** Opens the device, or enrolls it: now, and again while that can help. */
  start(): void {
    this.#try();
  }

  /** Undefined until the device is enrolled. */
  get id(): DeviceId | undefined {
    return this.#device?.id;
  }

  get state(): DeviceState {
    return this.#state;
  }

  /** The last error, until it is resolved. */
  get lastError(): DeviceError | undefined {
    return this.#error;
  }

  /** Calls back at each change of state, until the returned function is called. */
  onState(listener: (state: DeviceState) => void): () => void {
    return this.#listeners.add(listener);
  }

  async status(): Promise<AgentStatus> {
    const { settings, version } = this.#options;
    const identity = await fileIdentityStore(settings.state)
      .load()
      .catch(() => undefined);
    const ends = identity && new Date(validityOf(identity.certificatePem).notAfter).toISOString();
    return {
      version,
      state: this.#state,
      reason: this.#reason,
      since: new Date(this.#since).toISOString(),
      error: this.#error === undefined ? null : errorView(this.#error),
      device: identity?.deviceId ?? null,
      broker: settings.broker ?? identity?.mqttUrl ?? null,
      certificateEnds: ends ?? null,
      queue: this.#device?.queue ?? null,
      clock: this.#device?.clock ?? null,
    };
  }

  /**
   * Resolves when there is a device; rejects with `unavailable` and the reason when only another token or a hand on this
   * machine can help, when `timeout` has ended, or when too many wait.
   */
  async enrolled(timeout: AbortSignal): Promise<void> {
    if (this.#device !== undefined) return;
    if (this.#waiting.size >= WAITING_MAX) throw this.#notEnrolled('too many wait for it');
    // The token may have come since the file was looked at; the look may take as long as an enrollment does.
    let isLooking = this.#refusedToken !== undefined;
    if (isLooking) {
      void this.#serial
        .run(() => this.#lookForToken())
        .finally(() => {
          isLooking = false;
          this.#wake();
        });
    }
    const isOver = () =>
      this.#device !== undefined || timeout.aborted || (!isLooking && this.#refusedToken !== undefined);
    while (!isOver()) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          timeout.removeEventListener('abort', wake);
          resolve();
        };
        this.#waiting.add(wake);
        timeout.addEventListener('abort', wake, { once: true });
      });
    }
    if (this.#device === undefined) throw this.#notEnrolled(this.#whyNot());
  }

  /** As `Device.publish`; `unavailable` with a Retry-After while there is no device yet. */
  publish(stream: string, payload: Payload, options: TelemetryOptions): Promise<Receipt> {
    return this.#opened((device) => device.publish(stream, payload, options));
  }

  publishEvent(type: string, payload: Payload, options: PublishOptions): Promise<Receipt> {
    return this.#opened((device) => device.publishEvent(type, payload, options));
  }

  renew(): Promise<void> {
    return this.#opened((device) => device.renew());
  }

  /** Enrolls with this token: the first time, or again under its own name. The token is not kept. */
  async enroll(token: string, options: EnrollAgainOptions = {}): Promise<void> {
    const before = await this.#serial.run(async () => {
      if (this.#device !== undefined) return this.#device;
      const stamp = await fileVersion(this.#options.settings.tokenFile);
      await this.#open(token);
      if (this.#device !== undefined) return undefined;
      const error = this.#error ?? new DeviceError('internal');
      if (!this.#ending.signal.aborted) this.#tryLater(stamp);
      throw error;
    });
    await before?.enroll(token, options);
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#cancel?.();
    this.#listeners.clear();
    await this.#serial.idle();
    await this.#device?.close();
  }

  async #opened<T>(act: (device: Device) => Promise<T>): Promise<T> {
    if (this.#device !== undefined) return act(this.#device);
    throw this.#notEnrolled();
  }

  #notEnrolled(why?: string): DeviceError {
    const reason = `this device is not enrolled yet${why === undefined ? '' : `: ${why}`}`;
    return new DeviceError('unavailable', { reason, status: 503, retryAfter: 5 });
  }

  #whyNot(): string | undefined {
    const { code, message } = this.#error ?? {};
    if (code !== 'token_required') return message;
    return `expected a bootstrap token in ${this.#options.settings.tokenFile}, or by "rollcall-device enroll --token @FILE"`;
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** In the place of what was to be done later until now. */
  #later(milliseconds: number, action: () => void): void {
    this.#cancel?.();
    this.#cancel = this.#options.schedule(milliseconds, action);
  }

  #try(): void {
    void this.#serial.run(async () => {
      if (this.#device === undefined && !this.#ending.signal.aborted) await this.#tryNow();
    });
  }

  async #tryNow(): Promise<void> {
    const { settings } = this.#options;
    const before = await fileVersion(settings.tokenFile);
    await this.#open(await readTokenFile(settings.tokenFile));
    if (this.#device === undefined && !this.#ending.signal.aborted) this.#tryLater(before);
  }

  async #open(token: string | undefined): Promise<void> {
    const { settings, commandQueue, now, random, schedule, log } = this.#options;
    this.#refusedToken = undefined;
    try {
      this.#device = await Device.open({
        dataDir: settings.state,
        ...(token !== undefined && { token }),
        ...(settings.id !== undefined && { deviceId: settings.id }),
        ...(settings.enroll !== undefined && { enrollUrl: settings.enroll }),
        ...(settings.broker !== undefined && { mqttUrl: settings.broker }),
        queue: { bytes: settings.queueBytes },
        messageKeys: settings.messageKeys,
        commands: { '*': (command) => commandQueue.post(command) },
        onState: (state, error, reason) => this.#become(state, error, reason),
        signal: this.#ending.signal,
        ...{ now, random, schedule, log },
      });
      this.#failures = 0;
      log.info({ device: this.#device.id }, 'device opened');
      this.#wake();
    } catch (thrown) {
      const error = asDeviceError(thrown, 'internal');
      this.#become('unenrolled', error, 'not enrolled');
    }
  }

  #tryLater(tokenBefore: string): void {
    const { settings, random, log } = this.#options;
    const error = this.#error;
    if (error !== undefined && isFinal(error)) {
      log.warn({ code: error.code, file: settings.tokenFile }, 'waiting for another token');
      this.#refusedToken = tokenBefore;
      this.#waitForToken();
      this.#wake();
      return;
    }
    const kind = error?.code === 'server_untrusted' ? 'refused' : 'lost';
    const wait =
      error?.retryAfter === undefined
        ? backoffDelay({ earlier: this.#failures, kind }, random)
        : retryAfterDelay(error.retryAfter, random);
    this.#failures += 1;
    log.info({ code: error?.code, wait }, 'enrollment postponed');
    this.#later(wait, () => this.#try());
  }

  #waitForToken(): void {
    this.#later(TOKEN_LOOK_MS, () => void this.#serial.run(() => this.#lookForToken()));
  }

  async #lookForToken(): Promise<void> {
    if (this.#refusedToken === undefined || this.#ending.signal.aborted) return;
    const stamp = await fileVersion(this.#options.settings.tokenFile);
    if (this.#ending.signal.aborted) return;
    if (stamp === this.#refusedToken) this.#waitForToken();
    else await this.#tryNow();
  }

  #become(state: DeviceState, error: DeviceError | undefined, reason: StateReason): void {
    this.#state = state;
    this.#reason = reason;
    this.#since = this.#options.now();
    if (error !== undefined || state === 'connected') this.#error = error;
    const { log } = this.#options;
    if (error === undefined) log.info({ state, reason }, 'device state changed');
    else {
      const { code, serverReason, message } = error;
      log.warn({ state, reason, code, serverReason, why: message }, 'device state changed');
    }
    this.#listeners.notify(state);
  }
}

function errorView({ code, serverReason, message }: DeviceError): Exclude<AgentStatus['error'], null> {
  return { code, ...(serverReason !== undefined && { serverReason }), message };
}

function isFinal({ code, status = 0 }: DeviceError): boolean {
  return FINAL.has(code) || (status >= 400 && status < 500 && status !== 408 && status !== 429);
}
