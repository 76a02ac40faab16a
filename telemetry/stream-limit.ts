/**
 * How many streams one device may have: a device names its streams itself, and each has a newest message that is read back.
 * Counts those whose newest message exists and is at most 30 days older than the newest file. Devices that have more already
 * keep them. Memory: the names of the streams of every device, read from the journal when it is opened.
 */

import type { Logger } from 'pino';
import type { DeviceStreams } from '../storage/index.ts';

export type { DeviceStreams };

export interface StreamLimitOptions {
  /** Streams of one device; 0: any number. */
  readonly max: number;
  /** What the journal holds now. */
  read(): Promise<readonly DeviceStreams[]>;
  /** Called after each reading. */
  counted?(): void;
  readonly log: Logger;
}

export class StreamLimit {
  readonly max: number;
  readonly #options: StreamLimitOptions;
  /** Lists, because a device has a few. */
  #streams = new Map<string, string[]>();
  /** Admitted since the last reading, and between the one before it and that: perhaps not stored yet. */
  #recent: [device: string, stream: string][] = [];
  #earlier: [device: string, stream: string][] = [];
  #reading: Promise<void> = Promise.resolve();

  constructor(options: StreamLimitOptions) {
    this.max = options.max;
    this.#options = options;
  }

  /** Whether a device may send to a stream, which it has from then on. Allocates nothing for a stream that it has. */
  admit(device: string, stream: string): boolean {
    if (this.max === 0) return true;
    const streams = this.#streams.get(device);
    if (streams?.includes(stream)) return true;
    if (streams !== undefined && streams.length >= this.max) return false;
    this.#add(device, stream);
    this.#recent.push([device, stream]);
    return true;
  }

  /** What the device has now. */
  of(device: string): readonly string[] {
    return this.#streams.get(device) ?? [];
  }

  /** Reads again what the journal holds; a stream that it does not hold any more leaves. A failure is logged. */
  refresh(): Promise<void> {
    if (this.max > 0) this.#reading = this.#reading.then(() => this.#refresh());
    return this.#reading;
  }

  /** Resolves when no reading is under way. */
  async refreshed(): Promise<void> {
    await this.#reading;
  }

  async #refresh(): Promise<void> {
    try {
      const held = await this.#options.read();
      this.#streams = new Map(held.map(([device, streams]) => [device, [...streams]]));
      for (const [device, stream] of [...this.#earlier, ...this.#recent]) this.#add(device, stream);
      this.#earlier = this.#recent;
      this.#recent = [];
      this.#options.counted?.();
    } catch (error) {
      this.#options.log.error({ err: error }, 'the streams of devices were not counted again');
    }
  }

  #add(device: string, stream: string): void {
    const streams = this.#streams.get(device);
    if (streams === undefined) this.#streams.set(device, [stream]);
    else if (!streams.includes(stream)) streams.push(stream);
  }
}
