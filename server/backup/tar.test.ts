/** The reader of archives on bytes that somebody made to hurt it. */

import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assert, integer, property, tuple, uint8Array } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { bytesOf, type TarEntry, TarWriter, tarEntries } from './tar.ts';

const file = () => join(temporaryDirectory(), 'archive');

function archive(path: string): Buffer {
  const descriptor = openSync(path, 'w');
  const tar = new TarWriter(descriptor);
  tar.add('one', { size: 3, modifiedAt: 0 }, [Buffer.from('abc')]);
  tar.add('two', { size: 600, modifiedAt: 0 }, [Buffer.alloc(600, 'x')]);
  tar.end();
  closeSync(descriptor);
  return readFileSync(path);
}

/** Reads every entry with its bytes. */
function read(path: string, bytes: Uint8Array): TarEntry[] {
  writeFileSync(path, bytes);
  const descriptor = openSync(path, 'r');
  try {
    const entries: TarEntry[] = [];
    for (const entry of tarEntries(descriptor)) {
      for (const _ of bytesOf(descriptor, entry.at, entry.size));
      entries.push(entry);
    }
    return entries;
  } finally {
    closeSync(descriptor);
  }
}

/** With the checksum of the first header computed anew. */
function summed(bytes: Buffer): Buffer {
  bytes.fill(' ', 148, 156);
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return bytes;
}

function withSize(bytes: Buffer, field: string): Buffer {
  const copy = Buffer.from(bytes);
  copy.fill(0, 124, 136);
  copy.write(field, 124, 'latin1');
  return summed(copy);
}

describe('the archive reader', () => {
  it('reads what the writer wrote', () => {
    const path = file();
    const sizes = read(path, archive(path)).map(({ name, size }) => [name, size]);
    expect(sizes).toEqual([
      ['one', 3],
      ['two', 600],
    ]);
  });

  it.each([
    '-0000001000',
    '+0000001000',
    '0x000000003',
    '00000000003x',
    '3.5',
    '',
    '9',
    '77777777777',
    '\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff',
    '\x80\x01\0\0\0\0\0\0\0\0\0\x03',
    '\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\x00',
  ])('refuses a size field of %j', (field) => {
    const path = file();
    expect(() => read(path, withSize(archive(path), field))).toThrow(RangeError);
  });

  it('reads or refuses every changed archive, and terminates', () => {
    const path = file();
    const whole = archive(path);
    const change = tuple(integer({ min: 0, max: whole.length - 1 }), uint8Array({ minLength: 1, maxLength: 16 }));
    assert(
      property(change, ([at, bytes]) => {
        const changed = Buffer.from(whole);
        Buffer.from(bytes).copy(changed, at);
        try {
          return read(path, summed(changed)).every(({ size }) => size >= 0 && size <= changed.length);
        } catch (error) {
          return error instanceof RangeError;
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
