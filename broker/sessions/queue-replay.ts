/**
 * Sends the queue of a persistent session in order and at a limited rate after its client reconnects, so that a device with a long
 * queue can still send, and a reconnecting fleet does not use all capacity. New messages for the session are appended to its queue
 * meanwhile, so that none overtakes an older one.
 */

import type { AedesClient } from '../routing/aedes-engine.ts';
import type { StoredPacket } from '../session-store/stored-packets.ts';
import type { Session } from './session.ts';

/** The part of the persistence that a replay reads. */
export interface ReplaySource {
  /** The oldest message that was not sent yet. */
  nextUnsent(clientId: string): StoredPacket | undefined;
  /** Whether a message is in the queue and was not sent yet. */
  isUnsent(clientId: string, packet: StoredPacket): boolean;
  dropUnsent(clientId: string, packet: StoredPacket): void;
  /** Whether aedes has yet to deliver the message to connected clients. */
  isInDelivery(packet: StoredPacket): boolean;
}

/** The state of one session's replay. */
export interface ReplayState {
  /** The message that is being sent. */
  current: StoredPacket | undefined;
  isOver: boolean;
  /** Numbers of messages that the replay sent before their live copies arrived. */
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

  /** Sends a first batch, calls back, and continues in batches. Calls back at once if there is nothing to send. */
  start(session: Session, begun: () => void): void {
    const client = session.aedesClient;
    if (client === undefined || client.clean || this.#store.nextUnsent(client.id) === undefined) {
      begun();
      return;
    }
    const state: ReplayState = { current: undefined, isOver: false, sent: new Set() };
    session.replay = state;
    const step = () => void this.#step(session, client, state).then(() => this.#later(session, state, step));
    void this.#step(session, client, state).then(() => {
      begun();
      this.#later(session, state, step);
    });
  }

  /** Whether a packet is the one that the replay is sending, and not a live copy. */
  isReplayed({ replay: state }: Session, packet: StoredPacket): boolean {
    return state !== undefined && state.current === packet;
  }

  /** Whether a live copy must not be sent: the replay has sent the message, or will. */
  suppresses({ replay: state, facts }: Session, packet: StoredPacket): boolean {
    if (state === undefined || state.current === packet) return false;
    if (state.sent.delete(packet.brokerCounter as number)) return true;
    return !state.isOver && this.#store.isUnsent(facts.clientId, packet);
  }

  async #step(session: Session, client: AedesClient, state: ReplayState): Promise<void> {
    for (let count = 0; count < this.#perStep; count += 1) {
      const packet = session.isEnded ? undefined : this.#store.nextUnsent(client.id);
      if (packet === undefined) {
        state.isOver = true;
        return;
      }
      state.current = packet;
      if (this.#store.isInDelivery(packet)) state.sent.add(packet.brokerCounter as number);
      await new Promise<void>((resolve) => client.deliverQoS(packet, () => resolve()));
      state.current = undefined;
      if (session.isEnded) continue;
      // Without a packet identifier it was not sent: the session may not receive it any more.
      if (this.#store.isUnsent(client.id, packet)) this.#store.dropUnsent(client.id, packet);
    }
  }

  #later(session: Session, state: ReplayState, step: () => void): void {
    if (!state.isOver && !session.isEnded) setTimeout(step, STEP_MS).unref();
  }
}
