/**
 * Gathers what a node stored, and reports it to the keeper: at most ten times a second, sooner when much was stored, and one report after
 * the other. A node that stored `UNCONFIRMED_BYTES` which the keeper did not count yet stores nothing more until it did, so that shares,
 * the floor of the disk and what followers wait for are overrun by no more than that, however busy the keeper is.
 */

import { Problem } from '@rollcall/protocol';
import type { IntakeCounters } from '../intake.ts';
import type { DayCounts } from '../share-ledger.ts';
import { bytesInJournal } from '../storage-shares.ts';
import type { TelemetryMessage } from '../telemetry.ts';
import type { NodeReport } from './node-calls.ts';

/** Between two reports, unless half of `UNCONFIRMED_BYTES` was stored meanwhile. */
const REPORT_EVERY_MS = 100;

/** Counters that change without a commit, and devices that store little, are reported so often. */
const REPORT_ALL_EVERY_MS = 2_000;

const UNCONFIRMED_BYTES = 64 * 1_048_576;

/** Devices that wait for a report; with more of them all are reported. */
const MOST_DEVICES = 10_000;

/** Commits whose time waits for a report; of more of them it is not observed. */
const MOST_COMMITS = 1_000;

export interface NodeReportsOptions {
  /** Whether devices and groups are counted, and bytes of one device that are reported without delay. */
  readonly isCounted: boolean;
  readonly step: number;
  counters(): IntakeCounters;
  newestPosition(): number;
  /** Resolves when the keeper counted it. */
  send(report: NodeReport): Promise<void>;
}

export class NodeReports {
  readonly #options: NodeReportsOptions;
  readonly #allTimer: NodeJS.Timeout;
  readonly #devices: UnreportedCounts;
  readonly #groups: UnreportedCounts;
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #isWanted = false;
  #sentAt = Number.NEGATIVE_INFINITY;
  #commitSeconds: number[] = [];
  /** Payload that no report told yet, and with everything that messages take what the keeper did not count yet. */
  #storedBytes = 0;
  #unreported = 0;
  #unconfirmed = 0;
  #last = '';

  constructor(options: NodeReportsOptions) {
    this.#options = options;
    this.#devices = new UnreportedCounts(options.step);
    this.#groups = new UnreportedCounts(0);
    this.#allTimer = setInterval(() => this.#reportAll(), REPORT_ALL_EVERY_MS).unref();
  }

  /** Throws Problem `unavailable` while the keeper is too far behind. */
  expectConfirmed(): void {
    if (this.#unconfirmed < UNCONFIRMED_BYTES) return;
    throw new Problem('unavailable', { reason: `${this.#unconfirmed} bytes were stored and are not counted yet` });
  }

  /** Counts stored messages, except those with these indices. */
  stored(messages: readonly TelemetryMessage<string>[], repeated: readonly number[]): void {
    const { isCounted } = this.#options;
    const again = repeated.length === 0 ? undefined : new Set(repeated);
    let bytes = 0;
    for (let i = 0; i < messages.length; i += 1) {
      const message = messages[i] as TelemetryMessage<string>;
      this.#storedBytes += message.payload.byteLength;
      if (again?.has(i) === true) continue;
      const each = bytesInJournal(message);
      bytes += each;
      if (!isCounted) continue;
      this.#devices.add(message.device, each);
      if (message.group !== undefined) this.#groups.add(message.group, each);
    }
    this.#unreported += bytes;
    this.#unconfirmed += bytes;
    this.soon();
  }

  observeCommit(seconds: number): void {
    if (this.#commitSeconds.length < MOST_COMMITS) this.#commitSeconds.push(seconds);
  }

  /** Reports within `REPORT_EVERY_MS`. */
  soon(): void {
    if (this.#sending !== undefined) {
      this.#isWanted = true;
      return;
    }
    const isMuch = this.#unreported >= UNCONFIRMED_BYTES / 2;
    if (this.#timer !== undefined && !isMuch) return;
    clearTimeout(this.#timer);
    const wait = isMuch ? 0 : Math.max(0, this.#sentAt + REPORT_EVERY_MS - performance.now());
    this.#timer = setTimeout(() => this.#report(false), wait).unref();
  }

  /** Reports everything, and resolves when it is counted, or can't be. */
  async close(): Promise<void> {
    clearInterval(this.#allTimer);
    clearTimeout(this.#timer);
    await this.#sending;
    clearTimeout(this.#timer);
    this.#report(true);
    await this.#sending;
    clearTimeout(this.#timer);
  }

  #reportAll(): void {
    if (this.#sending === undefined && (this.#devices.size > 0 || this.#countersText() !== this.#last))
      this.#report(true);
  }

  #report(all: boolean): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#isWanted = false;
    this.#sentAt = performance.now();
    this.#last = this.#countersText();
    const bytes = this.#unreported;
    const report: NodeReport = {
      counters: this.#options.counters(),
      newestPosition: this.#options.newestPosition(),
      storedBytes: this.#storedBytes,
      commitSeconds: this.#commitSeconds,
      devices: this.#devices.take(all || this.#devices.size > MOST_DEVICES),
      groups: this.#groups.take(true),
    };
    this.#storedBytes = 0;
    this.#unreported = 0;
    this.#commitSeconds = [];
    const sent = () => {
      this.#sending = undefined;
      this.#unconfirmed -= bytes;
      if (this.#isWanted) this.soon();
    };
    // A keeper that is gone counts nothing more, and its node ends.
    this.#sending = this.#options.send(report).then(sent, sent);
  }

  #countersText(): string {
    return JSON.stringify(this.#options.counters());
  }
}

/** Of devices, or of groups. */
class UnreportedCounts {
  readonly #step: number;
  #counts = new Map<string, Count>();
  /** Those with more bytes than a step. */
  #large: Count[] = [];

  constructor(step: number) {
    this.#step = step;
  }

  get size(): number {
    return this.#counts.size;
  }

  add(name: string, bytes: number): void {
    let count = this.#counts.get(name);
    if (count === undefined) {
      count = { name, bytes: 0, messages: 0 };
      this.#counts.set(name, count);
    }
    const wasLarge = count.bytes > this.#step;
    count.bytes += bytes;
    count.messages += 1;
    if (!wasLarge && count.bytes > this.#step) this.#large.push(count);
  }

  /** All, or those with more bytes than a step. */
  take(all: boolean): readonly DayCounts[] {
    const taken = all ? [...this.#counts.values()] : this.#large;
    this.#large = [];
    if (all) this.#counts = new Map();
    else for (const { name } of taken) this.#counts.delete(name);
    return taken;
  }
}

interface Count {
  readonly name: string;
  bytes: number;
  messages: number;
}
