/** The file system operations of the journal. Tests replace them to simulate a power cut between any two. */

import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { syncDirectory } from './durable-file.ts';

export interface JournalFile {
  /** Writes all of it at the end. On disk after {@link sync}, perhaps before, perhaps in part. */
  append(bytes: Buffer): Promise<void>;
  /** Resolves when everything appended survives a power cut. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** One directory; names have no slash. */
export interface JournalFiles {
  list(): readonly string[];
  /** The whole file. */
  read(name: string): Buffer;
  /** Up to `length` bytes from `at` on. */
  readAt(name: string, at: number, length: number): Buffer;
  /** Fails if there is one of this name. The name itself survives a power cut when it resolves. */
  create(name: string): Promise<JournalFile>;
  /** Removes the file, durably. */
  remove(name: string): Promise<void>;
}

const PRIVATE = 0o600;

/** Makes the directory (0700) if it isn't there. Throws what the file system throws. */
export function journalFiles(directory: string): JournalFiles {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const at = (name: string) => join(directory, name);
  return {
    list: () => readdirSync(directory),
    read: (name) => readFileSync(at(name)),
    readAt: (name, position, length) => {
      const file = openSync(at(name), 'r');
      try {
        const bytes = Buffer.allocUnsafe(length);
        return bytes.subarray(0, readSync(file, bytes, 0, length, position));
      } finally {
        closeSync(file);
      }
    },
    create: async (name) => {
      const file = await open(at(name), 'ax', PRIVATE);
      await syncDirectory(directory);
      return openedFile(file);
    },
    remove: async (name) => {
      await rm(at(name), { force: true });
      await syncDirectory(directory);
    },
  };
}

function openedFile(file: FileHandle): JournalFile {
  return {
    append: async (bytes) => {
      for (let written = 0; written < bytes.length; ) {
        written += (await file.write(bytes, written, bytes.length - written)).bytesWritten;
      }
    },
    sync: () => file.datasync(),
    close: () => file.close(),
  };
}
