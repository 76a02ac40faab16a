/**
 * Commands for applications on this machine, and their responses. Applications connect and disconnect; a command waits for
 * one of them, and for its response, until the timeout. An application is a function here, for both servers.
 */

import type { Command } from '../commands.ts';
import type { Payload } from '../payload.ts';
import type { Schedule } from '../schedule.ts';

/** Returns false when this application can't take it, and the next one is asked. */
export type CommandConsumer = (command: Command) => boolean;

export interface CommandQueueOptions {
  /** Milliseconds from a command's arrival to its answer, at most. */
  readonly timeout: number;
  readonly schedule: Schedule;
}

/** Commands without an answer at one time; another is answered with an error at once. */
const OPEN_MAX = 256;

interface OpenCommand {
  readonly command: Command;
  readonly answer: (payload: Payload) => void;
  /** Stops the clock; the command stays without an answer. */
  readonly cancel: () => void;
  isDelivered: boolean;
}

export class CommandQueue {
  readonly #options: CommandQueueOptions;
  readonly #consumers = new Set<CommandConsumer>();
  readonly #open = new Map<string, OpenCommand>();

  constructor(options: CommandQueueOptions) {
    this.#options = options;
  }

  /** Resolves with what an application answered; rejects with a message for the sender of the command after the timeout. */
  post(command: Command): Promise<Payload> {
    if (this.#open.size >= OPEN_MAX) {
      return Promise.reject(new Error(`expected at most ${OPEN_MAX} commands without an answer`));
    }
    return new Promise((resolve, reject) => {
      const cancel = this.#options.schedule(this.#options.timeout, () => {
        this.#open.delete(command.requestId);
        reject(
          new Error(open.isDelivered ? 'the application did not answer in time' : 'no application took the command'),
        );
      });
      const open: OpenCommand = {
        command,
        isDelivered: false,
        cancel,
        answer: (payload) => {
          cancel();
          this.#open.delete(command.requestId);
          resolve(payload);
        },
      };
      this.#open.set(command.requestId, open);
      this.#offer(open);
    });
  }

  /** Adds an application and offers it the undelivered commands. Returns a function that removes it. */
  join(consumer: CommandConsumer): () => void {
    this.#consumers.add(consumer);
    for (const open of this.#open.values()) if (!open.isDelivered) this.#offer(open);
    return () => this.#consumers.delete(consumer);
  }

  /** False when no such command waits for an answer: it never was, was answered, or took too long. */
  answer(requestId: string, payload: Payload): boolean {
    const open = this.#open.get(requestId);
    open?.answer(payload);
    return open !== undefined;
  }

  /** Leaves no timer behind. Commands without an answer stay without one: the next process may be asked again. */
  close(): void {
    for (const open of this.#open.values()) open.cancel();
    this.#open.clear();
    this.#consumers.clear();
  }

  #offer(open: OpenCommand): void {
    for (const consumer of this.#consumers) {
      if (consumer(open.command)) {
        open.isDelivered = true;
        return;
      }
    }
  }
}
