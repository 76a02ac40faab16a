/**
 * The device's side of its twin: the desired state that the fleet keeps for it, the state it reports, and what of the one
 * is not yet the other. Both are retained messages at the broker; here they are on disk, so the device knows them offline.
 */

import { asTwinObject, mergeTwin, readTwinState, twinDifference } from '@rollcall/protocol';
import { asDeviceError, DeviceError } from './device-error.ts';
import { type JsonObject, type Parser, parsed } from './device-schema.ts';
import type { DeviceLog } from './device-state.ts';
import type { JsonFile } from './json-file.ts';
import { Listeners } from './listeners.ts';
import type { Payload } from './payload.ts';
import type { Receipt } from './receipt.ts';
import { SerialQueue } from './serial-queue.ts';

export interface TwinState<State> {
  /** Zero until there is one. Grows by one or more with each change. */
  readonly version: number;
  readonly state: State;
}

/** `delta`: what the device is to change; empty when it has it all. */
export type DesiredListener<Desired> = (delta: Partial<Desired>, desired: TwinState<Desired>) => void;

export interface TwinOptions {
  readonly file: JsonFile;
  /** Publishes what the device reports, retained. */
  readonly publish: (payload: Payload) => Promise<Receipt>;
  readonly parser: Parser | undefined;
  readonly log: DeviceLog;
}

interface StoredTwin {
  readonly desired: TwinState<JsonObject>;
  readonly reported: TwinState<JsonObject>;
}

const NOTHING: TwinState<JsonObject> = { version: 0, state: {} };

export class Twin<Desired extends object = JsonObject, Reported extends object = JsonObject> {
  readonly #options: TwinOptions;
  readonly #listeners = new Listeners<[]>();
  #desired: TwinState<JsonObject>;
  #reported: TwinState<JsonObject>;
  readonly #changes = new SerialQueue();

  private constructor(options: TwinOptions, { desired, reported }: StoredTwin) {
    this.#options = options;
    this.#desired = desired;
    this.#reported = reported;
  }

  /** A file that can't be read counts as none: the broker tells the desired state again. */
  static async open(options: TwinOptions): Promise<Twin<never, never>> {
    const stored = await options.file.load().catch(() => undefined);
    const { desired, reported } = (asTwinObject(stored) ?? {}) as {
      readonly desired?: unknown;
      readonly reported?: unknown;
    };
    return new Twin<never, never>(options, {
      desired: readTwinState(desired) ?? NOTHING,
      reported: readTwinState(reported) ?? NOTHING,
    });
  }

  /** As the device knows it; the newest may not have arrived yet. */
  get desired(): TwinState<Desired> {
    return this.#desired as unknown as TwinState<Desired>;
  }

  get reported(): TwinState<Reported> {
    return this.#reported as unknown as TwinState<Reported>;
  }

  /** What of the desired state is not reported: members that differ or are missing, objects compared member by member. */
  get delta(): Partial<Desired> {
    return twinDifference(this.#desired.state, this.#reported.state) as Partial<Desired>;
  }

  /**
   * Calls back at each new desired state, until the returned function is called; and once at first, when something is
   * desired that is not reported: it may have come while nobody listened.
   */
  onDesired(listener: DesiredListener<Desired>): () => void {
    const remove = this.#listeners.add(() => this.#call(listener));
    if (Object.keys(this.delta).length > 0) this.#call(listener);
    return remove;
  }

  /**
   * Merges `patch` into what is reported (RFC 7396: null removes a member) and publishes it. Resolves when it survives a
   * power cut, with the receipt of the message. When `publish` would reject, this does; what was merged goes out with the
   * next report, or when the device is opened again.
   */
  report(patch: { readonly [Member in keyof Reported]?: Reported[Member] | null }): Promise<Receipt> {
    return this.#changes.run(async () => {
      const before = this.#reported;
      const state = mergeTwin(before.state, plain(patch)) as JsonObject;
      const reported = { version: before.version + 1, state };
      await this.#save({ desired: this.#desired, reported });
      this.#reported = reported;
      return this.#publish();
    });
  }

  /** A desired state arrived. Resolves when it survives a power cut. */
  receive(payload: Buffer): Promise<void> {
    return this.#changes.run(async () => {
      const desired = this.#read(payload);
      if (desired === undefined || desired.version <= this.#desired.version) return;
      await this.#save({ desired, reported: this.#reported });
      this.#desired = desired;
      this.#listeners.notify();
    });
  }

  /** Says again what was reported last: it may not have left the device, or the broker may have lost it. */
  async repeat(): Promise<void> {
    if (this.#reported.version === 0) return;
    await this.#changes
      .run(() => this.#publish())
      .catch((error) => {
        this.#options.log.warn({ code: asDeviceError(error, 'internal').code }, 'twin not reported');
      });
  }

  #publish(): Promise<Receipt> {
    const { version, state } = this.#reported;
    return this.#options.publish({ version, desiredVersion: this.#desired.version, state });
  }

  #read(payload: Buffer): TwinState<JsonObject> | undefined {
    const { log, parser } = this.#options;
    if (payload.length === 0) return undefined; // the retained message was removed: the device keeps what it has
    let found: TwinState<JsonObject> | undefined;
    try {
      found = readTwinState(JSON.parse(payload.toString('utf8')));
    } catch {
      // As below: not the parser's own words, they could quote the state.
    }
    if (found === undefined) {
      log.warn({ reason: 'expected {"version": 1 or more, "state": {...}}' }, 'desired state not understood');
      return undefined;
    }
    try {
      return { version: found.version, state: parsed(parser, found.state, 'the desired state') as JsonObject };
    } catch {
      log.warn({ version: found.version, reason: 'it does not fit its schema' }, 'desired state not understood');
      return undefined;
    }
  }

  #call(listener: DesiredListener<Desired>): void {
    try {
      listener(this.delta, this.desired);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#options.log.warn({ reason }, 'a listener of the twin failed');
    }
  }

  #save(twin: StoredTwin): Promise<void> {
    return this.#options.file.save(twin).catch((error: NodeJS.ErrnoException) => {
      throw new DeviceError('queue_unwritable', { reason: error.code ?? 'unknown', cause: error });
    });
  }
}

/** As it will be after its way through JSON. */
function plain(value: object): JsonObject {
  let copy: unknown;
  try {
    copy = JSON.parse(JSON.stringify(value));
  } catch {
    copy = undefined;
  }
  const found = asTwinObject(copy);
  if (found === undefined) throw new DeviceError('request_invalid', { reason: 'expected an object with a JSON form' });
  return found;
}
