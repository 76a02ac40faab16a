/**
 * Finds the parts of a DER value without interpreting them: the exact bytes that a signature covers, the exact bytes of
 * a public key. Strict, so that one value has one encoding: definite minimal lengths, nothing after the end, bounded
 * depth and count. Every length is checked against the buffer first.
 */

export interface DerNode {
  /** The identifier octet, constructed bit included: 0x30 is a SEQUENCE, 0xa0 is `[0]` constructed. */
  readonly tag: number;
  /** Header and contents, as they stand in the buffer. */
  readonly bytes: Buffer;
  readonly contents: Buffer;
  /** Empty for primitive types. */
  readonly children: readonly DerNode[];
}

/** A certificate has depth 9; a request with extensions 8. */
const DEPTH_MAX = 16;
/** A certificate has about 70 and a request fewer; each one costs time and memory. */
const NODES_MAX = 400;
/** No input is longer than 16 MB, so a length never needs more than three bytes. */
const LENGTH_BYTES_MAX = 3;

const CONSTRUCTED = 0x20;
const SEQUENCE_OR_SET = new Set([0x30, 0x31]);

/** The value that fills the buffer from first byte to last; an error text otherwise. */
export function readDer(der: Buffer): DerNode | string {
  const reader = new Reader(der);
  try {
    const node = reader.node(0, der.length, 0);
    return node.bytes.length === der.length ? node : `found ${der.length - node.bytes.length} bytes after the value`;
  } catch (error) {
    if (error instanceof NotDer) return error.message;
    throw error;
  }
}

class NotDer extends Error {}

class Reader {
  readonly #der: Buffer;
  #nodes = 0;

  constructor(der: Buffer) {
    this.#der = der;
  }

  /** Reads one value that starts at `start` and may not reach beyond `limit`. */
  node(start: number, limit: number, depth: number): DerNode {
    this.#nodes += 1;
    if (this.#nodes > NODES_MAX) throw new NotDer(`expected at most ${NODES_MAX} values`);
    if (depth > DEPTH_MAX) throw new NotDer(`expected at most ${DEPTH_MAX} levels`);
    if (start + 2 > limit) throw new NotDer('expected a value, found the end');

    const tag = this.#der[start] as number;
    if ((tag & 0x1f) === 0x1f) throw new NotDer('found a tag number above 30');
    if (tag === 0) throw new NotDer('found an end-of-contents marker');
    const { contentsAt, length } = this.#length(start + 1, limit);
    const end = contentsAt + length;
    if (end > limit) throw new NotDer('found a length beyond the end');

    const constructed = (tag & CONSTRUCTED) !== 0;
    const universal = (tag & 0xc0) === 0;
    // X.690, section 10.2: strings are never split into parts; and a SEQUENCE is never primitive.
    if (universal && constructed !== SEQUENCE_OR_SET.has(tag | CONSTRUCTED)) throw new NotDer('found a BER form');
    const contents = this.#der.subarray(contentsAt, end);
    if (!constructed) {
      checkPrimitive(tag, contents);
      return { tag, bytes: this.#der.subarray(start, end), contents, children: [] };
    }
    const children: DerNode[] = [];
    for (let at = contentsAt; at < end; ) {
      const child = this.node(at, end, depth + 1);
      children.push(child);
      at += child.bytes.length;
    }
    return { tag, bytes: this.#der.subarray(start, end), contents, children };
  }

  #length(at: number, limit: number): { contentsAt: number; length: number } {
    const first = this.#der[at] as number;
    if (first < 0x80) return { contentsAt: at + 1, length: first };
    const count = first & 0x7f;
    if (count === 0) throw new NotDer('found an indefinite length');
    if (count > LENGTH_BYTES_MAX) throw new NotDer('found a length beyond the end');
    if (at + 1 + count > limit) throw new NotDer('expected a length, found the end');
    const length = this.#der.readUIntBE(at + 1, count);
    const shortest = length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : 3;
    if (count !== shortest) throw new NotDer('found a length that is not minimal');
    return { contentsAt: at + 1 + count, length };
  }
}

/** X.690, sections 8.3.2 and 11.1: the rules by which a plain value could have a second spelling. */
function checkPrimitive(tag: number, contents: Buffer): void {
  if (tag === 0x02 || tag === 0x0a) {
    if (contents.length === 0) throw new NotDer('found an empty integer');
    const first = contents[0] as number;
    const second = contents[1] ?? -1;
    if ((first === 0 && second >= 0 && second < 0x80) || (first === 0xff && second >= 0x80)) {
      throw new NotDer('found an integer that is not minimal');
    }
  }
  if (tag === 0x01 && !(contents.length === 1 && (contents[0] === 0 || contents[0] === 0xff))) {
    throw new NotDer('found a boolean that is neither 00 nor FF');
  }
  if (tag === 0x03 && !(contents.length > 0 && (contents[0] as number) < 8)) {
    throw new NotDer('found a bit string without a count of unused bits');
  }
  if (tag === 0x05 && contents.length !== 0) throw new NotDer('found a null with contents');
}
