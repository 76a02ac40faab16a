/**
 * What waited for a session while it was away, sent in order and at a bounded rate once it is back: a device that wakes up
 * to a thousand commands can still be heard, and a fleet that comes back at once doesn't take all there is. New messages
 * for the session join the end of its queue meanwhile, so that none overtakes an older one.
 */

import type { AedesClient } from '../routing/aedes-engine.ts';
import type { StoredPacket } from '../session-store/stored-packets.ts';
import type { Session } from './session.ts';

/** The part of the session store that a replay needs. */
export interface ReplaySource {
  /** The oldest that was not sent yet. */
  nextUnsent(clientId: string): StoredPacket | undefined;
  /** Whether a message waits in this queue, and was not sent yet. */
  isUnsent(clientId: string, packet: StoredPacket): boolean;
  dropUnsent(clientId: string, packet: StoredPacket): void;
  /** Whether it is still to be handed to those who are here. */
  isInDelivery(packet: StoredPacket): boolean;
}

/** One session's replay, from its CONNECT to its end. */
export interface ReplayState {
  /** The message that is being sent now. */
  current: StoredPacket | undefined;
  isOver: boolean;
  /** Counters of messages that were sent by the replay while their live copies were still to come. */
  readonly sent: Set<number>;
}

const STEP_MS = 20;

export class QueueReplay {
  readonly #store: ReplaySource;
  readonly #perStep: number;

  /** `perSecond`: messages of one session; 0: no limit. */
  constructor(store: ReplaySource, perSecond: number) {
    this.#store = store;
    this.#perStep = perSecond === 0 ? Number.POSITIVE_INFINITY : Math.max(1, Math.round((perSecond * STEP_MS) / 1000));
  }

  /** Sends a first step's worth, calls back, and goes on in steps. Without anything to send it calls back at once. */
  start(session: Session, begun: () => void): void {
    const client = session.aedesClient;
    if (client === undefined || client.clean || this.#store.nextUnsent(client.id) === undefined) {
      begun();
      return;
    }
    const course: ReplayState = { current: undefined, isOver: false, sent: new Set() };
    session.replay = course;
    const step = () => void this.#step(session, client, course).then(() => this.#later(session, course, step));
    void this.#step(session, client, course).then(() => {
      begun();
      this.#later(session, course, step);
    });
  }

  /** Whether this is what the replay sends, and no live copy of it. */
  isReplayed({ replay: course }: Session, packet: StoredPacket): boolean {
    return course !== undefined && course.current === packet;
  }

  /** Whether a live copy must not be sent now: its turn comes, or it was sent already. */
  suppresses({ replay: course, facts }: Session, packet: StoredPacket): boolean {
    if (course === undefined || course.current === packet) return false;
    if (course.sent.delete(packet.brokerCounter as number)) return true;
    return !course.isOver && this.#store.isUnsent(facts.clientId, packet);
  }

  async #step(session: Session, client: AedesClient, course: ReplayState): Promise<void> {
    for (let count = 0; count < this.#perStep; count += 1) {
      const packet = session.isEnded ? undefined : this.#store.nextUnsent(client.id);
      if (packet === undefined) {
        course.isOver = true;
        return;
      }
      course.current = packet;
      if (this.#store.isInDelivery(packet)) course.sent.add(packet.brokerCounter as number);
      await new Promise<void>((resolve) => client.deliverQoS(packet, () => resolve()));
      course.current = undefined;
      if (session.isEnded) continue;
      // Its rights don't let it have this one any more, or it would have a packet identifier now.
      if (this.#store.isUnsent(client.id, packet)) this.#store.dropUnsent(client.id, packet);
    }
  }

  #later(session: Session, course: ReplayState, step: () => void): void {
    if (!course.isOver && !session.isEnded) setTimeout(step, STEP_MS).unref();
  }
}
