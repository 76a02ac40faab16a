/**
 * What a target will never take: one line of JSON each, with the reason, in a file that the next one replaces when it is
 * full. So at most two files of a bounded size. Decides nothing.
 */

import { open, rename, stat } from 'node:fs/promises';
import { jsonText } from '@rollcall/output';
import type { Logger } from 'pino';
import { toJsonLine } from './message-json.ts';
import type { RefusedMessage } from './target.ts';

export interface DeadLettersOptions {
  readonly file: string;
  /** Of one file; there are two at most. */
  readonly bytes: number;
  readonly now: () => number;
  readonly log: Logger;
}

const LONGEST_REASON = 512;

export class DeadLetters {
  readonly #options: DeadLettersOptions;
  #count = 0;

  constructor(options: DeadLettersOptions) {
    this.#options = options;
  }

  /** Written since this was opened. */
  get count(): number {
    return this.#count;
  }

  /** Resolves when they are on disk. */
  async add(refused: readonly RefusedMessage[]): Promise<void> {
    if (refused.length === 0) return;
    const { file, bytes, now, log } = this.#options;
    const at = new Date(now()).toISOString();
    const text = refused
      .map(({ message, reason }) => {
        const head = jsonText({ at, reason: reason.slice(0, LONGEST_REASON) });
        return `${head.slice(0, -1)},"message":${toJsonLine(message)}}\n`;
      })
      .join('');
    const size = await stat(file).then(
      (found) => found.size,
      () => 0,
    );
    if (size > 0 && size + Buffer.byteLength(text) > bytes) {
      await rename(file, `${file}.1`);
      log.warn({ file }, 'dead letters begin a new file; the file before the last one is gone');
    }
    const handle = await open(file, 'a', 0o600);
    try {
      await handle.writeFile(text);
      await handle.datasync();
    } finally {
      await handle.close();
    }
    this.#count += refused.length;
    log.error({ messages: refused.length, reason: refused[0]?.reason.slice(0, LONGEST_REASON) }, 'dead letters');
  }
}
