/** Messages that the server itself publishes or retains: events, notices to devices, the trust bundle, commands and twins of operators. */

import { Problem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Message } from '../mqtt/message.ts';
import type { Bus } from '../routing/bus.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import { SERVER_OWNER } from '../session-store/memory-pool.ts';
import { NoRoomError, type Sessions } from './sessions.ts';

export interface ServerMessage {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: 0 | 1;
  /** Retain the message; an empty payload removes the retained one. */
  readonly retain?: true;
  /** Milliseconds since the epoch after which it is not delivered any more. */
  readonly expiresAt?: number | undefined;
}

export interface ServerMessagesOptions {
  readonly router: Pick<MessageRouter, 'hasSubscriber' | 'nextNumber'>;
  readonly sessions: Pick<Sessions, 'choose' | 'enqueue' | 'mayRetain'>;
  readonly bus: Pick<Bus, 'tell'>;
  /** The retained message of a topic. */
  readonly retained: (topic: string) => Buffer | undefined;
  readonly log: Logger;
}

export class ServerMessages {
  readonly #options: ServerMessagesOptions;

  constructor(options: ServerMessagesOptions) {
    this.#options = options;
  }

  /** Resolves when the message is stored, and delivered to all connected subscribers. A failure is logged. */
  async publish(serverMessage: ServerMessage): Promise<void> {
    const { router, log } = this.#options;
    const { topic, retain = undefined } = serverMessage;
    // A reconnecting fleet causes two events per device, and mostly nobody subscribes to them.
    if (retain !== true && !router.hasSubscriber(topic)) return;
    const message = this.#messageOf(serverMessage);
    const shares = this.#options.sessions.choose(message);
    try {
      await this.#options.sessions.enqueue(message, { owner: SERVER_OWNER, shares, isInJournal: false });
    } catch (error) {
      log.error({ err: error, topic }, 'event could not be stored');
    }
    await this.#deliver(message, shares);
  }

  /**
   * The same for a message whose sender has to know: a message that cannot be stored is not delivered, and Problem `unavailable` is thrown.
   * `owner`: of the message if it is retained.
   */
  async send(serverMessage: ServerMessage, owner: string = SERVER_OWNER): Promise<void> {
    const message = this.#messageOf(serverMessage);
    const shares = this.#options.sessions.choose(message);
    try {
      await this.#options.sessions.enqueue(message, { owner, shares, isInJournal: false });
    } catch (error) {
      if (!(error instanceof NoRoomError)) throw error;
      throw new Problem('unavailable', { detail: 'the queue of the device has no room for another message' });
    }
    await this.#deliver(message, shares);
  }

  /**
   * Replaces a retained message by what `next` returns for the present one. Between the two no other message of this topic can be retained:
   * both happen in one turn. Throws what `next` throws, and Problem `body_too_large` when the owner may not retain so much.
   */
  async replaceRetained(topic: string, owner: string, next: (present: Buffer | undefined) => Buffer): Promise<void> {
    const payload = next(this.#options.retained(topic));
    if (!this.#options.sessions.mayRetain(topic, payload.length, owner)) {
      throw new Problem('body_too_large', { detail: 'expected less than the retained messages of a device may hold' });
    }
    await this.send({ topic, payload, qos: 1, retain: true }, owner);
  }

  /** The payload of the retained message of a topic. */
  retained(topic: string): Buffer | undefined {
    return this.#options.retained(topic);
  }

  #messageOf({ topic, payload, qos, retain, expiresAt }: ServerMessage): Message {
    return {
      topic,
      payload,
      qos,
      retain: retain === true,
      properties: undefined,
      expiresAt,
      clientId: undefined,
      number: this.#options.router.nextNumber(),
    };
  }

  #deliver(message: Message, shares: Parameters<Bus['tell']>[1]): Promise<void> {
    return new Promise((resolve) => this.#options.bus.tell(message, shares, resolve));
  }
}
