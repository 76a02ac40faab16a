/** Messages that the server itself publishes or retains: events, notices to devices, the trust bundle. */

import type { Logger } from 'pino';
import type { Message } from '../mqtt/message.ts';
import { SERVER_OWNER } from '../session-store/memory-pool.ts';
import type { Sessions } from '../sessions/sessions.ts';
import type { Bus } from './bus.ts';
import type { MessageRouter } from './message-router.ts';

export interface ServerMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  /** Retain the message; an empty payload removes the retained one. */
  readonly retain?: true;
}

export interface ServerMessagesOptions {
  readonly router: MessageRouter;
  readonly sessions: Pick<Sessions, 'enqueue'>;
  readonly bus: Pick<Bus, 'tell'>;
  readonly log: Logger;
}

export class ServerMessages {
  readonly #options: ServerMessagesOptions;

  constructor(options: ServerMessagesOptions) {
    this.#options = options;
  }

  /** Resolves when the message is stored, and delivered to all connected subscribers. A failure is logged. */
  async publish({ topic, payload, qos, retain = undefined }: ServerMessage): Promise<void> {
    const { router, sessions, bus, log } = this.#options;
    // A reconnecting fleet causes two events per device, and mostly nobody subscribes to them.
    if (retain !== true && !router.hasSubscriber(topic)) return;
    const message: Message = {
      topic,
      payload,
      qos,
      retain: retain === true,
      properties: undefined,
      expiresAt: undefined,
      clientId: undefined,
      number: router.nextNumber(),
    };
    const shares = router.chooseShared(message);
    try {
      await sessions.enqueue(message, { owner: SERVER_OWNER, shares, isInJournal: false });
    } catch (error) {
      log.error({ err: error, topic }, 'event could not be stored');
    }
    await new Promise<void>((resolve) => bus.tell(message, shares, resolve));
  }
}
