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
  { count, perSecond }: { readonly count: number; readonly perSecond: number },
): Promise<readonly number[]> {
  return new Promise((resolve, reject) => {
    const samples: number[] = [];
    const free = sessions.map((session) => ({ ...session, dueAt: 0 }));
    /** When each message was due that no session was free for. */
    const late: number[] = [];
    let due = 0;
    const start = performance.now();
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
      for (; due < count && start + (due * 1000) / perSecond <= now; due += 1) {
        const session = free.shift();
        const dueAt = start + (due * 1000) / perSecond;
        if (session === undefined) late.push(dueAt);
        else send(session, dueAt);
      }
    }, TICK_MS);
  });
}
