import { parseDecimal } from '@rollcall/protocol';
import type { JournalFiles } from './journal-files.ts';
import { decodeRecord, MESSAGE, type StoredMessage } from './journal-record.ts';

export interface Segment {
  readonly name: string;
  readonly number: number;
  readonly mark: number;
  size: number;
  readonly live: Set<JournalEntry>;
}

/** Location of a stored message. Only the journal changes it. */
export interface JournalEntry {
  readonly sequence: number;
  readonly epoch: Buffer;
  readonly size: number;
  /** Undefined until it is stored. */
  segment: Segment | undefined;
  at: number;
}

const NAME = /^(\d{12})-([0-9a-f]{8})\.queue$/;
/** Bytes read at one time: a backlog is read in few system calls. */
const READ_AHEAD = 64 * 1024;

export function segmentName(number: number, mark: Buffer): string {
  return `${String(number).padStart(12, '0')}-${mark.toString('hex')}.queue`;
}

/** Undefined for a file that is no segment. */
export function parseSegmentName(name: string): { readonly number: number; readonly mark: number } | undefined {
  const [, number, mark] = NAME.exec(name) ?? [];
  return number === undefined || mark === undefined
    ? undefined
    : { number: parseDecimal(number, 0) as number, mark: Number.parseInt(mark, 16) };
}

export class SegmentReader {
  readonly #files: JournalFiles;
  #chunk: { readonly segment: Segment; readonly from: number; readonly bytes: Buffer } | undefined;

  constructor(files: JournalFiles) {
    this.#files = files;
  }

  /** Undefined when it can't be read back. */
  read(entry: JournalEntry): StoredMessage | undefined {
    const { segment, at, size } = entry;
    if (segment === undefined) return undefined;
    try {
      let chunk = this.#chunk;
      if (chunk?.segment !== segment || at < chunk.from || at + size > chunk.from + chunk.bytes.length) {
        const bytes = this.#files.readAt(segment.name, at, Math.max(size, READ_AHEAD));
        chunk = { segment, from: at, bytes };
        this.#chunk = chunk;
      }
      const record = decodeRecord(segment.mark, chunk.bytes, at - chunk.from);
      return record?.kind === MESSAGE && record.message.sequence === entry.sequence ? record.message : undefined;
    } catch {
      return undefined;
    }
  }

  /** The segment is gone. */
  forget(segment: Segment): void {
    if (this.#chunk?.segment === segment) this.#chunk = undefined;
  }
}
