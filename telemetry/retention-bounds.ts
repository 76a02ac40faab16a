/**
 * How many bytes the journal keeps: a size, or a part of the room there is. A part never cuts a journal that was larger when it
 * was first applied, after an upgrade or a restore: such a journal keeps what it holds and grows no more, until the operator
 * sets a size or another part. What was applied is remembered in a file beside the segments.
 */

import { existsSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Logger } from 'pino';
import { diskSpaceIn, listSegments, segmentBytes } from '../storage/index.ts';
import type { Retention } from './telemetry.ts';

/** `percent`: of the room that the journal has when it is opened, its own files counted in. */
export interface RetentionSetting extends Omit<Retention, 'bytes'> {
  readonly bytes: number | { readonly percent: number };
}

export interface RetentionBoundsOptions {
  readonly directory: string;
  readonly retention?: RetentionSetting;
  readonly shares?: object;
  readonly disk?: { readonly spaceOf?: () => Promise<{ readonly free: number }> };
  readonly log: Logger;
}

export interface RetentionBounds {
  readonly retention: Retention;
  /** Shares are parts of it: the bound on the journal's bytes, or else the free space. */
  readonly budget: number;
  /** Saves what was applied; the directory must exist. */
  save(): void;
}

/** The setting that was applied last: 0 percent stands for a size; and the bytes that a larger journal keeps. */
interface Applied {
  readonly percent: number;
  readonly keptBytes: number;
}

const KEEP_ALL: Retention = { age: 0, bytes: 0 };

const LARGEST_FILE = 4096;

export async function retentionBounds(options: RetentionBoundsOptions): Promise<RetentionBounds> {
  const { directory, retention = KEEP_ALL, shares, log } = options;
  const { bytes } = retention;
  const file = join(directory, 'retention.json');
  const isKnown = existsSync(file);
  const applied = (percent: number, keptBytes: number) => () => write(file, { percent, keptBytes }, log);
  const sized = typeof bytes === 'number' && isKnown ? applied(0, 0) : () => {};
  if (typeof bytes === 'number' && (bytes > 0 || shares === undefined)) {
    return { retention: { ...retention, bytes }, budget: bytes, save: sized };
  }
  const held = existsSync(directory) ? listSegments(directory).reduce((sum, one) => sum + segmentBytes(one), 0) : 0;
  const free = await freeBytes(options);
  const room = held + (free ?? 0);
  if (typeof bytes === 'number') return { retention: { ...retention, bytes }, budget: room, save: sized };
  const { percent } = bytes;
  // Without the size of the disk there is no part of it.
  if (free === undefined) return { retention: { ...retention, bytes: held }, budget: held, save: () => {} };
  const allowed = Math.floor((room * percent) / 100);
  const kept = keptBytesOf(isKnown ? read(file, log) : undefined, percent, held);
  const isOver = allowed > 0 && kept > allowed;
  const bound = isOver ? kept : allowed;
  if (isOver) {
    log.warn(
      { heldBytes: held, keptBytes: kept, allowedBytes: allowed, percent },
      'the journal was larger than telemetry.retention.bytes allows when that was first applied: nothing is cut, and it keeps at most so many bytes; set a size, such as 20GiB, to decide',
    );
  } else if (bound > 0) log.info({ bytes: bound, percent }, 'the journal keeps at most so many bytes');
  return {
    retention: { ...retention, bytes: bound },
    budget: bound > 0 ? bound : room,
    save: applied(percent, isOver ? kept : 0),
  };
}

/** Of a journal that no part was applied to yet, all that it holds; a part that the operator changed is applied as it is. */
function keptBytesOf(last: Applied | undefined, percent: number, held: number): number {
  if (last === undefined) return held;
  return last.percent === percent ? Math.min(last.keptBytes, held) : 0;
}

async function freeBytes({ directory, disk, log }: RetentionBoundsOptions): Promise<number | undefined> {
  const spaceOf = disk?.spaceOf ?? (() => diskSpaceIn(existsSync(directory) ? directory : dirname(directory)));
  try {
    return (await spaceOf()).free;
  } catch (error) {
    log.error({ err: error }, 'the free disk space could not be read');
    return undefined;
  }
}

/** A file that can't be read counts as missing: then nothing is removed. */
function read(file: string, log: Logger): Applied | undefined {
  try {
    if (statSync(file).size > LARGEST_FILE) throw new Error(`expected at most ${LARGEST_FILE} bytes`);
    const { percent, keptBytes } = JSON.parse(readFileSync(file, 'utf8')) as Partial<Record<keyof Applied, unknown>>;
    if (!Number.isSafeInteger(percent) || !Number.isSafeInteger(keptBytes)) throw new Error('expected two numbers');
    return { percent: percent as number, keptBytes: keptBytes as number };
  } catch (error) {
    log.warn({ err: error }, 'the bound on bytes that was applied to the journal before could not be read');
    return undefined;
  }
}

function write(file: string, applied: Applied, log: Logger): void {
  try {
    writeFileSync(`${file}.new`, JSON.stringify(applied), { mode: 0o600 });
    renameSync(`${file}.new`, file);
  } catch (error) {
    log.warn({ err: error }, 'the bound on the bytes of the journal was not saved');
  }
}
