/**
 * Segments that are no longer written: removes those past retention, and replaces those that were rewritten. Called by the journal,
 * which knows the segment that is being written.
 */

import { chmodSync, renameSync } from 'node:fs';
import { basename } from 'node:path';
import { removeDraft } from '../database-copy.ts';
import { syncDirectory } from '../sync-directory.ts';
import type { SegmentStats } from './message.ts';
import type { PreviousSegmentKeys } from './previous-segment-keys.ts';
import { planRetention, type RetentionRules } from './retention.ts';
import { listSegments, removeSegment, type SegmentName, segmentBytes, segmentName } from './segment-names.ts';
import { SegmentReader } from './segment-reader.ts';
import type { RewriteOrder } from './segment-rewrite.ts';

export interface PruneResult {
  readonly removed: readonly SegmentStats[];
  /** Files to rewrite without some devices, and then to `replace()`. */
  readonly rewrites: readonly (Omit<RewriteOrder, 'devices'> & { readonly groups: readonly string[] })[];
  /** Milliseconds by which the clock is ahead of the trusted time. */
  readonly ahead: number;
}

export interface SegmentReplacement {
  readonly file: string;
  readonly draft: string;
  /** How many messages are not in the copy. */
  readonly removedMessages: number;
}

export class ClosedSegments {
  readonly #directory: string;
  readonly #keys: PreviousSegmentKeys;
  /** By file. */
  readonly #extents = new Map<string, Extent>();

  /** `keys` follows the newest closed segment. */
  constructor(directory: string, keys: PreviousSegmentKeys) {
    this.#directory = directory;
    this.#keys = keys;
  }

  /** Removes whole segments, never the one that is written, and returns which others are to be rewritten. */
  prune(kept: RetentionRules, now: number, written: SegmentName | undefined): PruneResult {
    const names = this.#namesBut(written);
    // A file is opened only when needed, and once: closed segments do not change.
    const extent = (name: SegmentName) => this.#extentOf(name);
    const closed = names.map((name) => ({
      day: name.day,
      bytes: segmentBytes(name),
      get removedMark() {
        return extent(name).removedMark;
      },
    }));
    const current = written && { day: written.day, bytes: segmentBytes(written) };
    const plan = planRetention(kept, { closed, current, now });
    const removed: SegmentStats[] = [];
    for (const index of plan.removed) {
      const name = names[index] as SegmentName;
      const { bytes } = closed[index] as (typeof closed)[number];
      const { firstPosition, messages } = extent(name);
      if (index === names.length - 1) this.#keys.open(undefined);
      removeSegment(name);
      this.#extents.delete(name.file);
      removed.push({ name: basename(name.file), bytes, firstPosition, messages });
    }
    const rewrites = plan.rewrites.map(({ index, ...rest }) => {
      const { file } = names[index] as SegmentName;
      return { ...rest, file, draft: `${file}.new` };
    });
    return { removed, rewrites, ahead: plan.ahead };
  }

  /** Replaces a segment by its rewritten copy, a new edition. Returns what was removed, or undefined when the segment is gone. */
  replace(
    { file, draft, removedMessages }: SegmentReplacement,
    written: SegmentName | undefined,
  ): SegmentStats | undefined {
    const names = this.#namesBut(written);
    const name = names.find((one) => one.file === file);
    if (name === undefined) {
      removeDraft(draft);
      return undefined;
    }
    const before = segmentBytes(name);
    const edition = segmentName(this.#directory, name.number, name.day, name.edition + 1);
    chmodSync(draft, 0o600);
    renameSync(draft, edition.file);
    syncDirectory(this.#directory);
    const isOlder = file === names.at(-1)?.file;
    if (isOlder) this.#keys.open(edition);
    removeSegment(name);
    this.#extents.delete(file);
    const { firstPosition } = this.#extentOf(edition);
    return { name: basename(file), bytes: before - segmentBytes(edition), firstPosition, messages: removedMessages };
  }

  #extentOf(name: SegmentName): Extent {
    const extent = this.#extents.get(name.file) ?? extentOf(name);
    this.#extents.set(name.file, extent);
    return extent;
  }

  #namesBut(written: SegmentName | undefined): SegmentName[] {
    return listSegments(this.#directory).filter(({ file }) => file !== written?.file);
  }
}

interface Extent {
  readonly firstPosition: number;
  readonly messages: number;
  readonly removedMark: string;
}

function extentOf({ file }: SegmentName): Extent {
  try {
    const reader = new SegmentReader(file);
    try {
      return { firstPosition: reader.firstPosition, messages: reader.count(), removedMark: reader.removed.mark };
    } finally {
      reader.close();
    }
  } catch {
    return { firstPosition: 0, messages: 0, removedMark: '' }; // an unreadable segment may be removed like any other
  }
}
