/**
 * Writes and reads archives of plain files in the format of POSIX.1-1988 `tar` ("ustar"). Sizes of 8 GiB and more are written in
 * base 256, as GNU tar does. Folders, links and owners are refused.
 * Not `tar-stream`: restore authenticates the manifest before it writes a file, so it needs offsets, which a stream does not give.
 */

import { fstatSync, readSync, writeSync } from 'node:fs';

const BLOCK = 512;
const MAX_OCTAL_SIZE = 0o77777777777;
const MAX_NAME_BYTES = 100;
/** Telemetry and events each have one file per day. */
const MAX_ENTRIES = 100_000;
const CHUNK_BYTES = 1_048_576;

export interface TarEntry {
  /** Relative, with slashes. */
  readonly name: string;
  readonly size: number;
  /** Offset of its bytes in the archive. */
  readonly at: number;
}

export class TarWriter {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  /** Throws RangeError unless `chunks` have exactly `size` bytes, and errors of the file system. */
  add(name: string, { size, modifiedAt }: { size: number; modifiedAt: number }, chunks: Iterable<Uint8Array>): void {
    this.#write(headerOf(name, size, modifiedAt));
    let written = 0;
    for (const chunk of chunks) {
      written += chunk.length;
      this.#write(chunk);
    }
    if (written !== size) throw new RangeError(`expected ${size} bytes of ${name}, found ${written}`);
    this.#write(Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK));
  }

  end(): void {
    this.#write(Buffer.alloc(2 * BLOCK));
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
  }
}

function headerOf(name: string, size: number, modifiedAt: number): Buffer {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) throw new RangeError(`expected a short name, found ${name}`);
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1');
  header.write(name, 0);
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  if (size <= MAX_OCTAL_SIZE) octal(size, 124, 12);
  else {
    header.writeUInt8(0x80, 124);
    header.writeBigUInt64BE(BigInt(size), 128);
  }
  octal(Math.floor(modifiedAt / 1000), 136, 12);
  header.write('        0', 148, 'latin1'); // the checksum is computed with blanks in its field; type 0 is a file
  header.write('ustar\x0000', 257, 'latin1');
  octal(sumOf(header), 148, 7);
  return header;
}

function sumOf(header: Buffer): number {
  let sum = 0;
  for (const byte of header) sum += byte;
  return sum;
}

/** Throws RangeError when it is not an archive of plain files, or is truncated. */
export function* tarEntries(descriptor: number): Generator<TarEntry> {
  const end = fstatSync(descriptor).size;
  let count = 0;
  for (let at = 0; ; ) {
    const header = Buffer.alloc(BLOCK);
    if (readSync(descriptor, header, 0, BLOCK, at) < BLOCK) throw new RangeError('expected an archive, found its end');
    if (header.every((byte) => byte === 0)) return;
    count += 1;
    if (count > MAX_ENTRIES) throw new RangeError(`expected at most ${MAX_ENTRIES} files in an archive, found more`);
    const sum = octalIn(header, 148, 156);
    header.fill(' ', 148, 156);
    if (sum !== sumOf(header) || header[156] !== 0x30)
      throw new RangeError('expected a file in an archive, found other bytes');
    const size = sizeIn(header);
    if (size === undefined || size > end - at - BLOCK)
      throw new RangeError('expected a size within the archive, found another');
    const name = header.toString('utf8', 0, MAX_NAME_BYTES).replace(/\0.*$/s, '');
    yield { name, size, at: at + BLOCK };
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
}

/** Octal digits, ended by NUL or a blank; undefined for anything else. */
function octalIn(header: Buffer, from: number, to: number): number | undefined {
  const [, digits] = /^([0-7]{1,11})[\0 ]{1,2}$/.exec(header.toString('latin1', from, to)) ?? [];
  return digits === undefined ? undefined : Number.parseInt(digits, 8);
}

/** Octal, or base 256 in the last eight bytes of the field. */
function sizeIn(header: Buffer): number | undefined {
  if (header[124] !== 0x80) return octalIn(header, 124, 136);
  const size = header.readBigUInt64BE(128);
  const isValid = size <= BigInt(Number.MAX_SAFE_INTEGER) && header.readUIntBE(125, 3) === 0;
  return isValid ? Number(size) : undefined;
}

/** A range of bytes of a file. Throws RangeError when the file is shorter. */
export function* bytesOf(descriptor: number, from: number, size: number): Generator<Buffer> {
  const buffer = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(size, 1)));
  for (let at = 0; at < size; ) {
    const read = readSync(descriptor, buffer, 0, Math.min(buffer.length, size - at), from + at);
    if (read === 0) throw new RangeError(`expected ${size} bytes, found ${at}`);
    yield buffer.subarray(0, read);
    at += read;
  }
}
