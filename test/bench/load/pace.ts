/** Messages at a fixed rate, independent of the server: a sender that waits for a slow server would hide its delay. */

import type { PublishRing } from './devices.ts';
import { pubacksIn } from './mqtt-bytes.ts';
import type { OpenSession } from './sessions.ts';

/** Messages are sent in groups of a few, so often; the grain of what is measured. */
const TICK_MS = 1;

/** Sends `count` messages, each on the session that waits longest. Milliseconds from when each was due to its PUBACK. */
export function paceOn(
  sessions: readonly OpenSession[],
  ringOf: (session: OpenSession) => PublishRing,
  { count, perSecond, spacing }: { readonly count: number; readonly perSecond: number; readonly spacing?: 'random' },
): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    const samples: number[] = [];
    const free = sessions.map((session) => ({ ...session, dueAt: 0 }));
    /** When each message was due that no session was free for. */
    const late: number[] = [];
    let due = 0;
    const start = performance.now();
    const dueTimes = dueTimesOf(count, perSecond, spacing).map((after) => start + after);
    const stop = () => {
      clearInterval(timer);
      for (const { socket } of sessions) {
        socket.removeAllListeners('data');
        socket.removeListener('close', lost);
      }
    };
    const fail = (what: string) => {
      stop();
      reject(new Error(what));
    };
    const lost = () => fail(`a session ended while it published, after ${samples.length} messages`);
    const send = (session: (typeof free)[number], dueAt: number) => {
      session.dueAt = dueAt;
      const { bytes, packetBytes } = ringOf(session);
      session.socket.write(bytes.subarray(0, packetBytes));
    };
    for (const session of free) {
      session.socket.on('close', lost);
      session.socket.on('data', (bytes: Buffer) => {
        if (pubacksIn(bytes) !== 1) return fail(`expected PUBACK, found ${bytes.toString('hex', 0, 8)}`);
        samples.push(performance.now() - session.dueAt);
        if (samples.length === count) {
          stop();
          resolve(samples);
          return;
        }
        const waiting = late.shift();
        if (waiting === undefined) free.push(session);
        else send(session, waiting);
      });
    }
    const timer = setInterval(() => {
      const now = performance.now();
      for (; due < count && (dueTimes[due] as number) <= now; due += 1) {
        const session = free.shift();
        const dueAt = dueTimes[due] as number;
        if (session === undefined) late.push(dueAt);
        else send(session, dueAt);
      }
    }, TICK_MS);
  });
}

/** Milliseconds after the start. `random`: as many devices send that know nothing of each other; evenly without it. */
function dueTimesOf(count: number, perSecond: number, spacing: 'random' | undefined): number[] {
  if (spacing === undefined) return Array.from({ length: count }, (_, index) => (index * 1000) / perSecond);
  let at = 0;
  return Array.from({ length: count }, () => {
    at -= (Math.log(1 - Math.random()) * 1000) / perSecond;
    return at;
  });
}
