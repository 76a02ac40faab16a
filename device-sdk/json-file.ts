/** One JSON value in one file, written whole or not at all, one write after the other. It knows no shapes. */

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

/** Forgets with the process. */
export function memoryJson(): JsonFile {
  let kept: unknown;
  return {
    load: async () => kept,
    save: async (value) => {
      kept = value;
    },
  };
}
