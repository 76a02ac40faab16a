/**
 * The files of a journal: their order and their names. `00000012-2030-01-31.db` is the twelfth
 * segment, begun with a message of that day (UTC); `00000012-2030-01-31-2.db` replaces it, after
 * retention rewrote it for the second time. Opens none of them.
 */

import { readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseDecimal } from '@rollcall/protocol';

export interface SegmentName {
  readonly number: number;
  /** `YYYY-MM-DD`. */
  readonly day: string;
  /** How often it was rewritten. */
  readonly edition: number;
  readonly file: string;
}

const NAME = /^(\d{8})-(\d{4}-\d{2}-\d{2})(?:-(\d{1,4}))?\.db$/;
const SIDE_FILES = ['', '-wal', '-shm'];

/** Oldest first, each in its newest edition. */
export function listSegments(directory: string): SegmentName[] {
  const found = new Map<number, SegmentName>();
  for (const name of allSegments(directory)) {
    if (name.edition >= (found.get(name.number)?.edition ?? 0)) found.set(name.number, name);
  }
  return [...found.values()];
}

/** Those that a newer edition replaced: a crash may leave both. */
export function replacedSegments(directory: string): SegmentName[] {
  const newest = new Set(listSegments(directory).map(({ file }) => file));
  return allSegments(directory).filter(({ file }) => !newest.has(file));
}

function allSegments(directory: string): SegmentName[] {
  const found: SegmentName[] = [];
  for (const name of readdirSync(directory).sort()) {
    const parts = NAME.exec(name);
    if (parts === null) continue;
    const [, number, day, edition = '0'] = parts as unknown as [string, string, string, string?];
    found.push({
      number: parseDecimal(number, 0) as number,
      day,
      edition: parseDecimal(edition, 0) as number,
      file: join(directory, name),
    });
  }
  return found;
}

export function segmentName(directory: string, number: number, day: string, edition = 0): SegmentName {
  const ending = edition === 0 ? '' : `-${edition}`;
  return { number, day, edition, file: join(directory, `${String(number).padStart(8, '0')}-${day}${ending}.db`) };
}

/** The day of a time, UTC. */
export function dayOf(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** Bytes on disk, its write-ahead log included. */
export function segmentBytes({ file }: SegmentName): number {
  let bytes = 0;
  for (const side of SIDE_FILES) bytes += statSync(file + side, { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}

export function removeSegment({ file }: SegmentName): void {
  for (const side of SIDE_FILES) rmSync(file + side, { force: true });
}

/** Renames a segment that can't be read, so that the others stay usable and an operator can repair it. */
export function setAside({ file }: SegmentName): void {
  for (const side of SIDE_FILES) {
    if (statSync(file + side, { throwIfNoEntry: false }) !== undefined)
      renameSync(file + side, `${file}.damaged${side}`);
  }
}

export function listDamaged(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.db.damaged'))
    .sort();
}
