/**
 * Listeners for stored messages, of any device or of one, and listeners that only learn that there are some. They are called after the
 * commit and cannot disturb it.
 */

import type { Logger } from 'pino';
import { type FollowedDevices, visibleKey } from '../storage/index.ts';
import type { Cursor } from './cursor.ts';
import { positionOf } from './position.ts';
import type { StoredMessage, TelemetryMessage } from './telemetry.ts';

interface Follower<Source extends string> {
  readonly device: Source | undefined;
  readonly listener: (message: StoredMessage<Source>) => void;
  failed: boolean;
}

export class Followers<Source extends string> {
  readonly #followers = new Set<Follower<Source>>();
  readonly #storedListeners = new Set<() => void>();
  readonly #log: Logger;
  readonly #changed: () => void;

  /** `changed` is called when `devices` may have changed. */
  constructor(log: Logger, changed: () => void = () => {}) {
    this.#log = log;
    this.#changed = changed;
  }

  get isEmpty(): boolean {
    return this.#followers.size === 0;
  }

  get hasStoredListeners(): boolean {
    return this.#storedListeners.size > 0;
  }

  /** Those that are followed. */
  get devices(): FollowedDevices {
    const devices = new Set<string>();
    for (const { device } of this.#followers) {
      if (device === undefined) return 'all';
      devices.add(device);
    }
    return [...devices];
  }

  /** Returns a function that removes the listener. */
  add(device: Source | undefined, listener: (message: StoredMessage<Source>) => void): () => void {
    const follower: Follower<Source> = { device, listener, failed: false };
    this.#followers.add(follower);
    this.#changed();
    return () => {
      if (this.#followers.delete(follower)) this.#changed();
    };
  }

  /** Returns a function that removes the listener. */
  onStored(listener: () => void): () => void {
    this.#storedListeners.add(listener);
    return () => {
      this.#storedListeners.delete(listener);
    };
  }

  /** Messages were stored, whether they are followed or not. */
  stored(): void {
    for (const listener of this.#storedListeners) {
      try {
        listener();
      } catch (error) {
        this.#log.error({ err: error }, 'listener for stored telemetry failed');
      }
    }
  }

  /**
   * `repeated`: indices of those that were stored before. `cursorAt`: of a reader that has the message of this position; its position
   * when left out. It is called in the order of the messages.
   */
  notify(
    messages: readonly TelemetryMessage<Source>[],
    firstPosition: number,
    repeated: readonly number[],
    cursorAt?: (position: number) => Cursor,
  ): void {
    if (this.#followers.size === 0) return;
    let position = firstPosition;
    for (const [index, message] of messages.entries()) {
      if (repeated.includes(index)) continue;
      const { key: storedKey, ...rest } = message;
      const key = visibleKey(storedKey);
      const stored: StoredMessage<Source> = {
        ...rest,
        position: positionOf(position),
        ...(cursorAt !== undefined && { cursor: cursorAt(position) }),
        ...(key !== undefined && { key }),
      };
      position += 1;
      this.#notifyAll(stored);
    }
  }

  /** Messages that were read back, in the order of their positions. */
  notifyStored(messages: readonly StoredMessage<Source>[]): void {
    for (const message of messages) this.#notifyAll(message);
  }

  #notifyAll(message: StoredMessage<Source>): void {
    for (const follower of this.#followers) {
      if (follower.device === undefined || follower.device === message.device) this.#notifyOne(follower, message);
    }
  }

  #notifyOne(follower: Follower<Source>, message: StoredMessage<Source>): void {
    try {
      follower.listener(message);
    } catch (error) {
      // Once per follower: one that fails at every message must not fill the log as fast as messages come.
      if (!follower.failed) this.#log.error({ err: error }, 'telemetry follower failed');
      follower.failed = true;
    }
  }
}
