/**
 * Packets that wait for aedes, in batches: ranges of bytes whose packets may be processed concurrently. aedes processes all
 * packets of a batch concurrently, so a packet that must keep its place is a batch of its own
 * [MQTT-4.6.0-3, MQTT-4.6.0-4].
 */

import { type DecodedPacket, PacketType } from './packet-decoder.ts';

export class PacketBatchQueue {
  readonly #packetsPerBatch: number;
  #batches: Buffer[] = [];
  #bytes = 0;
  /** The batch that consecutive packets are being added to: a range of one chunk. */
  #open: Buffer | undefined;
  #start = 0;
  #end = 0;
  #packets = 0;

  constructor(packetsPerBatch: number) {
    this.#packetsPerBatch = packetsPerBatch;
  }

  get isEmpty(): boolean {
    return this.#batches.length === 0;
  }

  /** Not even a batch that is still open. */
  get isCompletelyEmpty(): boolean {
    return this.#batches.length === 0 && this.#open === undefined;
  }

  /** Bytes in closed batches. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Adds a packet. It joins the open batch if both may be processed concurrently. */
  add(packet: DecodedPacket): void {
    const joins = isConcurrentPacket(packet.bytes[packet.start] as number);
    if (joins && this.#open === packet.bytes && this.#end === packet.start && this.#packets < this.#packetsPerBatch) {
      this.#end = packet.end;
      this.#packets += 1;
      return;
    }
    this.seal();
    this.#open = packet.bytes;
    this.#start = packet.start;
    this.#end = packet.end;
    this.#packets = 1;
    if (!joins) this.seal();
  }

  /** Closes the open batch. */
  seal(): void {
    const chunk = this.#open;
    if (chunk === undefined) return;
    this.#open = undefined;
    const isWhole = this.#start === 0 && this.#end === chunk.length;
    const batch = isWhole ? chunk : chunk.subarray(this.#start, this.#end);
    this.#batches.push(batch);
    this.#bytes += batch.length;
  }

  /** Removes and returns the next batch. */
  shift(): Buffer | undefined {
    const batch = this.#batches.shift();
    if (batch !== undefined) this.#bytes -= batch.length;
    return batch;
  }

  /** Whether the next batch may be processed concurrently with another such batch. */
  get startsConcurrent(): boolean {
    const batch = this.#batches[0];
    return batch !== undefined && isConcurrentBatch(batch);
  }

  /** Removes and returns the next batch if it may. */
  shiftConcurrent(): Buffer | undefined {
    return this.startsConcurrent ? this.shift() : undefined;
  }

  clear(): void {
    this.#batches = [];
    this.#open = undefined;
    this.#bytes = 0;
  }
}

/** Whether the packets of a batch may be processed concurrently with others. */
export function isConcurrentBatch(batch: Buffer): boolean {
  return isConcurrentPacket(batch[0] as number);
}

/** By the first byte: QoS 0 and 1 PUBLISH, PUBACK and PINGREQ. */
function isConcurrentPacket(first: number): boolean {
  const type = first >> 4;
  if (type === PacketType.publish) return (first & 0x06) < 0x04;
  return type === PacketType.puback || type === PacketType.pingreq;
}
