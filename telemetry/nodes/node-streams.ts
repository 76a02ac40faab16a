/**
 * The limit on the streams of one device, in a node. The keeper has the streams of every device; a node has those of the devices that are
 * connected to it, so the limit is exact as long as a device is connected to one node. The owner calls `load()` before a session starts.
 */

export interface NodeStreamsOptions {
  /** Streams of one device; 0: any number. */
  readonly max: number;
  /** Of these devices, at the keeper. */
  read(devices: readonly string[]): Promise<readonly (readonly string[])[]>;
  /** The device has one more from now on. The keeper is told before anything that this node posts later. */
  admitted(device: string, stream: string): void;
}

export class NodeStreams {
  readonly max: number;
  readonly #options: NodeStreamsOptions;
  readonly #streams = new Map<string, string[]>();

  constructor(options: NodeStreamsOptions) {
    this.max = options.max;
    this.#options = options;
  }

  /** `streams`: what the device has, at the keeper. */
  load(device: string, streams: readonly string[]): void {
    if (this.max > 0) this.#streams.set(device, [...streams]);
  }

  /** The device is connected here no more. */
  release(device: string): void {
    this.#streams.delete(device);
  }

  /** Whether a device may send to a stream, which it has from then on. False for a device that was not loaded. */
  admit(device: string, stream: string): boolean {
    if (this.max === 0) return true;
    const streams = this.#streams.get(device);
    if (streams === undefined) return false;
    if (streams.includes(stream)) return true;
    if (streams.length >= this.max) return false;
    streams.push(stream);
    this.#options.admitted(device, stream);
    return true;
  }

  /** Streams were counted again: those without a message left. Devices that have as many as they may are read again. */
  async counted(): Promise<undefined> {
    const full = [...this.#streams].filter(([, streams]) => streams.length >= this.max);
    if (full.length > 0) await this.#read(full.map(([device]) => device));
  }

  /** An answer does not apply to a device that was released, loaded or read meanwhile. */
  async #read(devices: readonly string[]): Promise<void> {
    const before = devices.map((device) => this.#streams.get(device));
    const found = await this.#options.read(devices);
    for (const [at, device] of devices.entries()) {
      const isCurrent = this.#streams.has(device) && this.#streams.get(device) === before[at];
      if (isCurrent) this.#streams.set(device, [...(found[at] ?? [])]);
    }
  }
}
