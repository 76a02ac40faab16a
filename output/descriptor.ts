/**
 * Writes to a standard stream without waiting for its reader. A blocked write(2) holds a thread of Node's pool, and
 * the process cannot exit before that thread returns. Pipes and terminals are therefore opened once more through /proc,
 * non-blocking; the flags of the inherited descriptor belong to the processes that share it. Sockets cannot be opened
 * again: Node's own stream writes to them. Regular files never block.
 */

import { constants, fstatSync, openSync, write, writeSync } from 'node:fs';
import { isatty } from 'node:tty';

export interface Descriptor {
  /** Calls back with the number of bytes written, or with the error; EAGAIN when the reader is not ready. */
  write(bytes: Uint8Array, done: (error: NodeJS.ErrnoException | null, written: number) => void): void;
  /** Writes what fits now. Throws as write(2) fails. */
  writeNow(bytes: Uint8Array): number;
}

export function openDescriptor(fd: 1 | 2): Descriptor {
  const stats = fstatSync(fd);
  if (stats.isFile()) return byNumber(fd);
  const own = stats.isSocket() ? undefined : openAgain(fd);
  if (own !== undefined) return byNumber(own);
  return stats.isSocket() || stats.isFIFO() ? byStream(fd) : byNumber(fd);
}

function openAgain(fd: number): number | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined; // another user's pipe or terminal, or one without a reader
  }
}

function byNumber(fd: number): Descriptor {
  return {
    write: (bytes, done) => write(fd, bytes, 0, bytes.length, null, done),
    writeNow: (bytes) => writeSync(fd, bytes),
  };
}

/** Node's stream does not wait for pipes and sockets, and never closes the standard descriptors. */
function byStream(fd: 1 | 2): Descriptor {
  const stream = fd === 1 ? process.stdout : process.stderr;
  stream.on('error', () => {}); // the callback of the write has it too
  return {
    write: (bytes, done) => {
      stream.write(bytes, (error) => done(error ?? null, error ? 0 : bytes.length));
    },
    writeNow: (bytes) => writeSync(fd, bytes),
  };
}

/** Whether this descriptor is a terminal. */
export function isTerminal(fd: 1 | 2): boolean {
  return isatty(fd);
}
