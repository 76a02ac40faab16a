/** One JSON value in one file. Writes are atomic and serialized. */

import { readFile } from 'node:fs/promises';
import { writeDurably } from './durable-file.ts';
import { SerialQueue } from './serial-queue.ts';

export interface JsonFile {
  /** Undefined when there is no such file; rejects when it can't be read or is no JSON. */
  load(): Promise<unknown>;
  /** Resolves when the value survives a power cut. */
  save(value: unknown): Promise<void>;
}

export function jsonFile(path: string, mode: number): JsonFile {
  const writes = new SerialQueue(); // they share a temporary file
  return {
    load: async () => {
      let text: string;
      try {
        text = await readFile(path, 'utf8');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
      return JSON.parse(text);
    },
    save: (value) => {
      const text = `${JSON.stringify(value)}\n`;
      return writes.run(() => writeDurably(path, text, mode));
    },
  };
}

/** Holds the value in memory. */
export function memoryJson(): JsonFile {
  let stored: unknown;
  return {
    load: async () => stored,
    save: async (value) => {
      stored = value;
    },
  };
}
