/** Listeners for stored messages. They are called after the commit and cannot disturb it. */

import type { Logger } from 'pino';
import { visibleKey } from '../storage/index.ts';
import { positionOf } from './position.ts';
import type { StoredMessage, TelemetryMessage } from './telemetry.ts';

interface Follower<Source extends string> {
  readonly device: Source | undefined;
  readonly listener: (message: StoredMessage<Source>) => void;
  failed: boolean;
}

export class Followers<Source extends string> {
  readonly #followers = new Set<Follower<Source>>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Returns a function that removes the listener. */
  add(device: Source | undefined, listener: (message: StoredMessage<Source>) => void): () => void {
    const follower: Follower<Source> = { device, listener, failed: false };
    this.#followers.add(follower);
    return () => {
      this.#followers.delete(follower);
    };
  }

  /** `repeated`: indices of those that were stored before. */
  notify(messages: readonly TelemetryMessage<Source>[], firstPosition: number, repeated: readonly number[]): void {
    if (this.#followers.size === 0) return;
    let position = firstPosition;
    for (const [index, message] of messages.entries()) {
      if (repeated.includes(index)) continue;
      const { key: storedKey, ...rest } = message;
      const key = visibleKey(storedKey);
      const stored: StoredMessage<Source> = {
        ...rest,
        position: positionOf(position),
        ...(key !== undefined && { key }),
      };
      position += 1;
      for (const follower of this.#followers) {
        if (follower.device === undefined || follower.device === message.device) this.#notifyOne(follower, stored);
      }
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
