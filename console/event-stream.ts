/**
 * Server-sent events (HTML, "Server-sent events") of a journal, resumable by `Last-Event-ID`: what the reader missed is read
 * from the journal, in order and once, then messages follow as they are stored. The id of an event is a cursor of the journal.
 */

import type { IncomingHttpHeaders } from 'node:http';
import { Cursor, type TelemetryBounds } from '../telemetry/index.ts';
import type { FollowerFlow } from './followers.ts';
import { type LiveBatch, type StreamedMessage, sseText } from './live-feed.ts';

/** One journal, behind the filter of the reader. */
export interface StreamSource {
  bounds(): Promise<TelemetryBounds>;
  /** What a reader that is there does not have, oldest first. */
  pages(after: Cursor): AsyncIterable<readonly StreamedMessage[]>;
  /** Calls the listener some time after each commit, in the order of the journal. Returns a function that removes the listener. */
  follow(listener: (batch: LiveBatch) => void): () => void;
}

/** Messages that one reader gets from the journal before it continues with the newest. */
export const MAX_MISSED = 50_000;
/** Bytes of messages that are stored while the missed ones are sent. More are read from the journal again. */
const MAX_WAITING = 262_144;

/** Server-sent events for a client that accepts them, lines of JSON for any other. */
export function acceptedForm({ accept = '' }: IncomingHttpHeaders): 'sse' | 'lines' {
  return /\btext\/event-stream\b/.test(accept) ? 'sse' : 'lines';
}

export interface StreamStart {
  /** Events after this one are sent. */
  readonly after: Cursor;
  /** The end of the journal at that time. */
  readonly end: Cursor;
  readonly gap?: Gap;
}

interface Gap {
  readonly reason: 'pruned' | 'unknown' | 'too_many';
  /** The cursor that the reader named, or up to which it has everything. Undefined for text that is no cursor. */
  readonly after: Cursor | undefined;
  /** Messages after this one follow. */
  readonly continuesAfter: Cursor;
}

/** Where a reader starts: after the event that it names, or after the newest. To be called before the answer begins. */
export async function findStreamStart(source: StreamSource, headers: IncomingHttpHeaders): Promise<StreamStart> {
  const { begin, end } = await source.bounds();
  const text = headers['last-event-id']?.toString();
  if (text === undefined) return { after: end, end };
  const after = Cursor.parse(text);
  if (after === undefined || !end.includes(after)) {
    return { after: end, end, gap: { reason: 'unknown', after, continuesAfter: end } };
  }
  if (after.includes(begin)) return { after, end };
  // It starts at its own cursor: of what was pruned, the journal may have a reserve.
  return { after, end, gap: { reason: 'pruned', after, continuesAfter: after.and(begin) } };
}

/** Returns a function that stops it. */
export function streamEvents(source: StreamSource, start: StreamStart, flow: FollowerFlow): () => void {
  const stream = new EventStream(source, flow);
  void stream.run(start).catch((error: unknown) => flow.fail(error));
  return () => stream.stop();
}

class EventStream {
  readonly #source: StreamSource;
  readonly #flow: FollowerFlow;
  readonly #unfollow: () => void;
  #waiting: StreamedMessage[] = [];
  #waitingLength = 0;
  /** `catching up` becomes `overflowed` when more messages wait than may. */
  #state: 'catching up' | 'overflowed' | 'live' | 'stopped' = 'catching up';
  /** Everything up to here was sent, or reported as a gap. */
  #sent = Cursor.BEGIN;

  constructor(source: StreamSource, flow: FollowerFlow) {
    this.#source = source;
    this.#flow = flow;
    this.#unfollow = source.follow((batch) => this.#stored(batch));
  }

  stop(): void {
    this.#state = 'stopped';
    this.#waiting = [];
    this.#unfollow();
  }

  async run({ after, end, gap }: StreamStart): Promise<void> {
    this.#sent = after;
    await Promise.resolve(); // the head of the answer comes first
    if (gap !== undefined) this.#reportGap(gap);
    while (!(await this.#catchUp())) {
      // The messages that waited were too many: they are in the journal now.
    }
    if (this.#isStopped()) return;
    this.#state = 'live';
    for (const message of this.#waiting) this.#send(message);
    this.#waiting = [];
    // Without data it is no event, and sets the cursor from which a quiet stream resumes.
    if (end.includes(this.#sent)) this.#flow.send(`id: ${end}\n\n`);
  }

  /** False when it is to be repeated. */
  async #catchUp(): Promise<boolean> {
    if (this.#state === 'stopped') return true;
    this.#state = 'catching up';
    this.#waiting = [];
    this.#waitingLength = 0;
    let missed = 0;
    for await (const page of this.#source.pages(this.#sent)) {
      for (const message of page) {
        if (this.#isStopped()) return true;
        if (missed === MAX_MISSED) return this.#skipToNewest();
        missed += 1;
        this.#send(message);
        await this.#flow.drained();
      }
    }
    return !this.#hasOverflowed();
  }

  async #skipToNewest(): Promise<boolean> {
    const { end } = await this.#source.bounds();
    if (this.#isStopped()) return true;
    this.#reportGap({ reason: 'too_many', after: this.#sent, continuesAfter: end });
    this.#sent = end;
    return !this.#hasOverflowed();
  }

  #stored(batch: LiveBatch): void {
    const { messages, bytes } = batch;
    if (this.#state === 'live') this.#sendBatch(batch);
    if (this.#state !== 'catching up') return;
    this.#waitingLength += bytes.length;
    if (this.#waitingLength <= MAX_WAITING) this.#waiting.push(...messages);
    else {
      this.#state = 'overflowed';
      this.#waiting = [];
    }
  }

  #sendBatch({ messages, bytes, span }: LiveBatch): void {
    // The bytes are the same for all readers; their ids name less than this one has when it has read other lanes.
    if (!span.end.includes(this.#sent) || span.firsts.some((first) => this.#sent.has(first))) {
      for (const message of messages) this.#send(message);
      return;
    }
    this.#sent = this.#sent.and(span.end);
    this.#flow.send(bytes);
  }

  #send(message: StreamedMessage): void {
    if (this.#sent.has(message.position)) return;
    this.#sent = this.#sent.after(message.position);
    this.#flow.send(sseText({ ...message, cursor: this.#sent }));
  }

  /** Of a pruned range the event has no id: a reader that leaves before the next event resumes at its own cursor. */
  #reportGap(gap: Gap): void {
    const id = gap.reason === 'pruned' ? '' : `id: ${gap.continuesAfter}\n`;
    this.#flow.send(`${id}event: gap\ndata: ${JSON.stringify(gap)}\n\n`);
  }

  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  #hasOverflowed(): boolean {
    return this.#state === 'overflowed';
  }
}
