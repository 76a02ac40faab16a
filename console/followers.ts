/**
 * Live telemetry for operators: newline-delimited JSON, one message a line. A follower that reads slower than messages
 * come is dropped instead of filling memory; its last line is a problem document that says so.
 */

import type { ServerResponse } from 'node:http';
import type { DeviceId } from '../contract/identity.ts';
import { Problem, problemDocument } from '../contract/problem.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { endpoints } from './endpoints.ts';
import { messageJson } from './message-view.ts';

/** What may wait for one follower, in bytes; the message that finds more waiting is the one that drops it. */
export const FOLLOWER_BUFFER = 1_048_576;
export const FOLLOWERS_AT_MOST = 64;
const GRACE_MS = 10_000;

export interface FollowersOptions {
  readonly telemetry: Telemetry;
  readonly now: () => number;
}

export class Followers {
  readonly #telemetry: Telemetry;
  readonly #now: () => number;
  readonly #live = new Set<(reason: string) => void>();

  constructor(options: FollowersOptions) {
    this.#telemetry = options.telemetry;
    this.#now = options.now;
  }

  /** Answers with messages until the client leaves. Problem `unavailable` when there are too many followers. */
  start(response: ServerResponse, device: DeviceId | undefined, headers: Readonly<Record<string, string>>): void {
    if (this.#live.size >= FOLLOWERS_AT_MOST) {
      throw new Problem('unavailable', { detail: `there are ${FOLLOWERS_AT_MOST} followers already` });
    }
    const stop = this.#telemetry.follow(device, (message) => {
      if (response.writableLength > FOLLOWER_BUFFER) drop('this follower reads too slowly and was dropped');
      else response.write(messageJson(message));
    });
    const leave = () => {
      stop();
      this.#live.delete(drop);
    };
    const drop = (reason: string) => {
      leave();
      const last = problemDocument(new Problem('unavailable', { detail: reason }), this.#now());
      response.end(`${JSON.stringify(last)}\n`);
      const grace = setTimeout(() => response.destroy(), GRACE_MS).unref();
      response.once('close', () => clearTimeout(grace));
    };
    this.#live.add(drop);
    response.once('close', leave);
    response.socket?.setTimeout(0); // a quiet fleet is no reason to hang up
    response.writeHead(200, { ...headers, 'content-type': endpoints.followTelemetry.mediaType, connection: 'close' });
    response.flushHeaders();
  }

  close(): void {
    for (const drop of [...this.#live]) drop('the server is closing');
  }
}
