/**
 * Packets on their way to aedes, in steps: ranges of bytes that hold packets which may be worked on side by side. aedes
 * works on all packets of a step concurrently, so whatever must keep its place is a step of its own
 * [MQTT-4.6.0-3, MQTT-4.6.0-4].
 */

import { type DecodedPacket, PacketType } from './packet-decoder.ts';

export class PacketBatchQueue {
  readonly #packetsPerStep: number;
  #steps: Buffer[] = [];
  #bytes = 0;
  /** The step that consecutive packets are being added to: a range of one chunk. */
  #open: Buffer | undefined;
  #start = 0;
  #end = 0;
  #packets = 0;

  constructor(packetsPerStep: number) {
    this.#packetsPerStep = packetsPerStep;
  }

  get isEmpty(): boolean {
    return this.#steps.length === 0;
  }

  /** Not even one that packets are still being added to. */
  get isCompletelyEmpty(): boolean {
    return this.#steps.length === 0 && this.#open === undefined;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a packet; it joins the step before it if both may. */
  add(frame: DecodedPacket): void {
    const joins = isConcurrentPacket(frame.bytes[frame.start] as number);
    if (joins && this.#open === frame.bytes && this.#end === frame.start && this.#packets < this.#packetsPerStep) {
      this.#end = frame.end;
      this.#packets += 1;
      return;
    }
    this.seal();
    this.#open = frame.bytes;
    this.#start = frame.start;
    this.#end = frame.end;
    this.#packets = 1;
    if (!joins) this.seal();
  }

  /** Nothing joins the last step any more. */
  seal(): void {
    const chunk = this.#open;
    if (chunk === undefined) return;
    this.#open = undefined;
    const isWhole = this.#start === 0 && this.#end === chunk.length;
    const step = isWhole ? chunk : chunk.subarray(this.#start, this.#end);
    this.#steps.push(step);
    this.#bytes += step.length;
  }

  /** Takes the next step. */
  shift(): Buffer | undefined {
    const step = this.#steps.shift();
    if (step !== undefined) this.#bytes -= step.length;
    return step;
  }

  /** Whether the packets of the next step may be worked on together with those of another such step. */
  get startsConcurrent(): boolean {
    const step = this.#steps[0];
    return step !== undefined && isConcurrentBatch(step);
  }

  /** Takes the next step if it does. */
  shiftConcurrent(): Buffer | undefined {
    return this.startsConcurrent ? this.shift() : undefined;
  }

  clear(): void {
    this.#steps = [];
    this.#open = undefined;
    this.#bytes = 0;
  }
}

/** Whether a step holds packets that others may be worked on beside. */
export function isConcurrentBatch(step: Buffer): boolean {
  return isConcurrentPacket(step[0] as number);
}

/** QoS 0 and 1 messages, PUBACK and PINGREQ, by the first byte. */
function isConcurrentPacket(first: number): boolean {
  const type = first >> 4;
  if (type === PacketType.publish) return (first & 0x06) < 0x04;
  return type === PacketType.puback || type === PacketType.pingreq;
}
