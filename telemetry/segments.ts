/**
 * The files of a journal: which there are, in which order, and what a name means. `00000012-2030-01-31.db` is the twelfth
 * segment, begun with a message of that day (UTC). Opens none of them.
 */

import { readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';

export interface SegmentName {
  readonly number: number;
  /** `YYYY-MM-DD`. */
  readonly day: string;
  readonly file: string;
}

const NAME = /^(\d{8})-(\d{4}-\d{2}-\d{2})\.db$/;
const SIDE_FILES = ['', '-wal', '-shm'];

/** Oldest first. */
export function listSegments(directory: string): SegmentName[] {
  const found: SegmentName[] = [];
  for (const name of readdirSync(directory).sort()) {
    const parts = NAME.exec(name);
    if (parts === null) continue;
    found.push({ number: Number(parts[1]), day: parts[2] as string, file: join(directory, name) });
  }
  return found;
}

export function segmentName(directory: string, number: number, day: string): SegmentName {
  return { number, day, file: join(directory, `${String(number).padStart(8, '0')}-${day}.db`) };
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

/** Puts a segment that can't be read aside, so that the others can be used and somebody can repair it. */
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
