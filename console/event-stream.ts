/**
 * Server-sent events (HTML, "Server-sent events") of a journal, resumable by `Last-Event-ID`: what the reader missed is read
 * from the journal, in order and once, then messages follow as they are stored. The id of an event is its position.
 */

import type { IncomingHttpHeaders } from 'node:http';
import { parseDecimal } from '@rollcall/protocol';
import type { FollowerFlow } from './followers.ts';
import { type LiveBatch, type StreamedMessage, sseText } from './live-feed.ts';

/** One journal, behind the filter of the reader. */
export interface StreamSource {
  /** Messages of positions before `oldest` were removed. `newest` is of the newest message. */
  bounds(): Promise<{ readonly oldest: number; readonly newest: number }>;
  /** After a position, oldest first. */
  pages(after: number): AsyncIterable<readonly StreamedMessage[]>;
  /** Calls the listener some time after each commit, in the order of positions. Returns a function that removes the listener. */
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
  /** Events after this position are sent. */
  readonly after: number;
  /** The newest message of the journal at that time. */
  readonly newest: number;
  readonly gap?: Gap;
}

interface Gap {
  readonly reason: 'pruned' | 'unknown' | 'too_many';
  /** The position that the reader named, or up to which it has everything. Undefined for text that is no position. */
  readonly after: number | undefined;
  /** Messages after this position follow. */
  readonly continuesAfter: number;
}

/** Where a reader starts: after the event that it names, or after the newest. To be called before the answer begins. */
export async function findStreamStart(source: StreamSource, headers: IncomingHttpHeaders): Promise<StreamStart> {
  const { oldest, newest } = await source.bounds();
  const text = headers['last-event-id']?.toString();
  if (text === undefined) return { after: newest, newest };
  const after = parseDecimal(text, 0);
  if (after === undefined || after > newest) {
    return { after: newest, newest, gap: { reason: 'unknown', after, continuesAfter: newest } };
  }
  if (after >= oldest - 1) return { after, newest };
  // It starts at its own position: of what was pruned, the journal may have a reserve.
  return { after, newest, gap: { reason: 'pruned', after, continuesAfter: oldest - 1 } };
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
  /** Everything up to this position was sent, or reported as a gap. */
  #sent = 0;

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

  async run({ after, newest, gap }: StreamStart): Promise<void> {
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
    // Without data it is no event, and sets the position from which a quiet stream resumes.
    if (newest >= this.#sent) this.#flow.send(`id: ${newest}\n\n`);
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
    const { newest } = await this.#source.bounds();
    if (this.#isStopped()) return true;
    this.#reportGap({ reason: 'too_many', after: this.#sent, continuesAfter: newest });
    this.#sent = newest;
    return !this.#hasOverflowed();
  }

  #stored({ messages, bytes }: LiveBatch): void {
    if (this.#state === 'live') this.#sendBatch(messages, bytes);
    if (this.#state !== 'catching up') return;
    this.#waitingLength += bytes.length;
    if (this.#waitingLength <= MAX_WAITING) this.#waiting.push(...messages);
    else {
      this.#state = 'overflowed';
      this.#waiting = [];
    }
  }

  #sendBatch(messages: readonly StreamedMessage[], bytes: Buffer): void {
    if ((messages[0] as StreamedMessage).position <= this.#sent) {
      for (const message of messages) this.#send(message);
      return;
    }
    this.#sent = (messages.at(-1) as StreamedMessage).position;
    this.#flow.send(bytes);
  }

  #send(message: StreamedMessage): void {
    if (message.position <= this.#sent) return;
    this.#sent = message.position;
    this.#flow.send(sseText(message));
  }

  /** Of a pruned range the event has no id: a reader that leaves before the next event resumes at its own position. */
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
