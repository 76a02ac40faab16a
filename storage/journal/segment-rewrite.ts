/**
 * Makes a copy of a segment without the messages of some devices. Their positions stay taken, so nothing else moves; the index
 * still names them, and a reader finds nothing there.
 */

import type Database from 'better-sqlite3';
import { copyChanged } from '../database-copy.ts';
import { checksumOf, eraseMessage, lengthOf, META_BYTES, sourceOf, wordsOf } from './block.ts';

export interface RewriteOrder {
  readonly file: string;
  /** Path of the copy; a file there is removed first. */
  readonly draft: string;
  readonly devices: readonly string[];
  /** Whether these devices are removed, or the only ones kept. */
  readonly which: 'removed' | 'kept';
  /** Written into the copy: names what was removed. */
  readonly mark: string;
}

/** Blocks per commit; they are in memory together. */
const BLOCKS_AT_ONCE = 2000;

/** Returns how many messages were removed. The copy is on disk. */
export function rewriteSegment({ file, draft, devices, which, mark }: RewriteOrder): number {
  return copyChanged(file, draft, (copy) => {
    const sources = sourcesOf(copy, new Set(devices), which);
    const read = copy.prepare('SELECT position, meta, data FROM blocks WHERE position > ? ORDER BY position LIMIT ?');
    const write = copy.prepare('UPDATE blocks SET checksum = ?, meta = ?, data = ? WHERE position = ?');
    let removed = 0;
    let after = 0;
    for (;;) {
      const blocks = read.all(after, BLOCKS_AT_ONCE) as { position: number; meta: Buffer; data: Buffer }[];
      if (blocks.length === 0) break;
      copy.exec('BEGIN');
      for (const { position, meta, data } of blocks) {
        const left = withoutSources(wordsOf(meta), data, sources);
        after = position;
        if (left.removed === 0) continue;
        removed += left.removed;
        const words = Buffer.from(left.meta.buffer);
        write.run(checksumOf(words, left.data), words, left.data, position);
      }
      copy.exec('COMMIT');
    }
    copy.prepare('UPDATE segment SET forgotten = ?, forgotten_messages = forgotten_messages + ?').run(mark, removed);
    return removed;
  });
}

/** Sources whose messages are removed. */
function sourcesOf(
  database: Database.Database,
  devices: ReadonlySet<string>,
  which: RewriteOrder['which'],
): ReadonlySet<number> {
  const all = database.prepare('SELECT s.id, d.name FROM sources AS s JOIN devices AS d ON d.id = s.device').all() as {
    readonly id: number;
    readonly name: string;
  }[];
  const gone = all.filter(({ name }) => devices.has(name) === (which === 'removed'));
  return new Set(gone.map(({ id }) => id));
}

/** A block without the messages of some sources; their positions stay taken. */
export function withoutSources(meta: Uint32Array, data: Buffer, sources: ReadonlySet<number>) {
  const left = new Uint32Array(meta);
  const kept: Buffer[] = [];
  let removed = 0;
  let start = 0;
  for (let i = 0; i < (meta.length * 4) / META_BYTES; i += 1) {
    const end = start + lengthOf(meta, i);
    if (sources.has(sourceOf(meta, i))) {
      eraseMessage(left, i);
      removed += 1;
    } else kept.push(data.subarray(start, end));
    start = end;
  }
  return { meta: left, data: Buffer.concat(kept), removed };
}
