/**
 * Reads the fields of one packet in order. After the first fault every read returns an empty value, so that a caller checks `fault`
 * once at the end. Text is checked on the bytes.
 */

import { type TextFault, type TextLimits, textFault, topicNameFault } from './mqtt-text.ts';
import { FAULTS, type Fault } from './protocol-violations.ts';

const NOTHING = Buffer.alloc(0);

export class FieldReader {
  fault: Fault | undefined;
  #bytes: Buffer = NOTHING;
  #at = 0;
  #end = 0;
  /** The fault of a field that ends beyond `#end`. */
  #tooShort: Fault = FAULTS.truncated;

  open(bytes: Buffer, start: number, end: number): this {
    this.fault = undefined;
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#tooShort = FAULTS.truncated;
    return this;
  }

  /** Releases the bytes. Returns the fault. */
  close(): Fault | undefined {
    this.#bytes = NOTHING;
    return this.fault;
  }

  /** Keeps the first fault. */
  fail(fault: Fault): void {
    this.fault ??= fault;
    this.#at = this.#end;
  }

  /** Nothing is left, or a fault has been found. */
  get isAtEnd(): boolean {
    return this.#at >= this.#end;
  }

  get position(): number {
    return this.#at;
  }

  byte(): number {
    const at = this.#take(1);
    return at < 0 ? 0 : (this.#bytes[at] as number);
  }

  uint16(): number {
    const at = this.#take(2);
    return at < 0 ? 0 : length16(this.#bytes, at);
  }

  uint32(): number {
    const at = this.#take(4);
    return at < 0 ? 0 : this.#bytes.readUInt32BE(at);
  }

  /** At most four bytes, shortest form [MQTT-1.5.5-1 of MQTT 5]. */
  variableByteInteger(): number {
    let value = 0;
    for (let shift = 0; shift <= 21; shift += 7) {
      const digit = this.byte();
      value |= (digit & 0x7f) << shift;
      if (digit < 0x80) {
        if (digit === 0 && shift > 0) this.fail(FAULTS.propertyLength);
        return value;
      }
    }
    this.fail(FAULTS.propertyLength);
    return 0;
  }

  text(): string {
    const end = this.#field();
    if (end < 0) return '';
    const fault = textFault(this.#bytes, this.#at, end);
    if (fault === undefined) return this.#string(end);
    this.fail(faultOfText(fault));
    return '';
  }

  /** Checks a text and skips it. */
  skipText(): void {
    const end = this.#field();
    if (end < 0) return;
    const fault = textFault(this.#bytes, this.#at, end);
    if (fault === undefined) this.#at = end;
    else this.fail(faultOfText(fault));
  }

  topicName(limits: TextLimits, wildcard: Fault = FAULTS.topicWildcard): string {
    const end = this.#field();
    if (end < 0) return '';
    const fault = topicNameFault(this.#bytes, this.#at, end, limits);
    if (fault === undefined) return this.#string(end);
    this.fail(fault === 'hash' || fault === 'plus' ? wildcard : faultOfText(fault));
    return '';
  }

  /** The text between the position and the end of the field, if `faultIn` finds no fault in these bytes. */
  checkedText(faultIn: (bytes: Uint8Array, start: number, end: number) => Fault | undefined): string {
    const end = this.#field();
    if (end < 0) return '';
    const fault = faultIn(this.#bytes, this.#at, end);
    if (fault === undefined) return this.#string(end);
    this.fail(fault);
    return '';
  }

  /** A copy. */
  binary(): Buffer {
    const end = this.#field();
    if (end < 0) return NOTHING;
    const copy = Buffer.allocUnsafeSlow(end - this.#at);
    this.#bytes.copy(copy, 0, this.#at, end);
    this.#at = end;
    return copy;
  }

  skipBinary(): void {
    const end = this.#field();
    if (end >= 0) this.#at = end;
  }

  /** Confines the next reads to the properties of this length. Returns where the packet ends, for `leaveProperties`. */
  enterProperties(length: number): number {
    const packetEnd = this.#end;
    if (this.fault !== undefined) return packetEnd;
    if (this.#at + length > packetEnd) this.fail(FAULTS.propertiesTooLong);
    else this.#end = this.#at + length;
    this.#tooShort = FAULTS.propertyTruncated;
    return packetEnd;
  }

  leaveProperties(packetEnd: number): void {
    this.#tooShort = FAULTS.truncated;
    this.#end = packetEnd;
    if (this.fault !== undefined) this.#at = packetEnd;
  }

  #take(count: number): number {
    const at = this.#at;
    if (at + count > this.#end) {
      this.fail(this.#tooShort);
      return -1;
    }
    this.#at = at + count;
    return at;
  }

  /** Moves to the first byte of a field with a two-byte length in front, and returns its end; -1 if it is cut. */
  #field(): number {
    const length = this.uint16();
    if (this.fault !== undefined) return -1;
    if (this.#at + length > this.#end) {
      this.fail(this.#tooShort);
      return -1;
    }
    return this.#at + length;
  }

  #string(end: number): string {
    const value = this.#bytes.toString('utf8', this.#at, end);
    this.#at = end;
    return value;
  }
}

/** The one reader: packets are read synchronously, one at a time. */
export const reader = new FieldReader();

export function length16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}

/** The fault of a text or topic name. */
export function faultOfText(fault: TextFault): Fault {
  switch (fault) {
    case 'utf8':
      return FAULTS.utf8;
    case 'nul':
      return FAULTS.nul;
    case 'empty':
      return FAULTS.topicEmpty;
    case 'too_long':
      return FAULTS.topicTooLong;
    case 'too_deep':
      return FAULTS.topicTooDeep;
    case 'hash':
    case 'plus':
      return FAULTS.topicWildcard;
  }
}
