/**
 * Commands from the cloud to handlers, and handlers' answers back. A command is delivered at least once by MQTT; here it
 * runs at most once per process. It sends nothing itself.
 */

import { asDeviceError, type DeviceError } from './device-error.ts';
import type { DeviceLog } from './device-state.ts';
import type { Payload } from './payload.ts';

export interface Command {
  readonly name: string;
  /** Names the answer's topic; unique per command. */
  readonly requestId: string;
  readonly payload: Buffer;
  /** The payload as JSON; throws a SyntaxError when it isn't. */
  json(): unknown;
}

/** What it returns is published as the response; what it throws as `{"error": message}`. */
export type CommandHandler = (command: Command) => unknown;

/** Commands that came before their handler was registered, at most. */
const HELD_MAX = 64;
/** Request ids remembered to recognize a second delivery. */
const REMEMBERED_MAX = 256;

export class CommandDesk {
  readonly #respond: (requestId: string, payload: Payload) => Promise<void>;
  readonly #log: DeviceLog;
  readonly #handlers = new Map<string, CommandHandler>();
  readonly #seen = new Set<string>();
  #held: Command[] = [];

  constructor(respond: (requestId: string, payload: Payload) => Promise<void>, log: DeviceLog) {
    this.#respond = respond;
    this.#log = log;
  }

  /** One handler per name, `*` for the rest; a later one takes the place of an earlier. Held commands run at once. */
  register(name: string, handler: CommandHandler): void {
    this.#handlers.set(name, handler);
    const held = this.#held;
    this.#held = [];
    for (const command of held) this.#dispatch(command);
  }

  deliver(name: string, requestId: string, payload: Buffer): void {
    if (this.#seen.has(requestId)) return;
    if (this.#seen.size >= REMEMBERED_MAX) this.#seen.delete(this.#seen.values().next().value as string);
    this.#seen.add(requestId);
    this.#dispatch({ name, requestId, payload, json: () => JSON.parse(payload.toString('utf8')) });
  }

  #dispatch(command: Command): void {
    const handler = this.#handlers.get(command.name) ?? this.#handlers.get('*');
    if (handler !== undefined) void this.#run(handler, command);
    else this.#hold(command);
  }

  #hold(command: Command): void {
    this.#held.push(command);
    if (this.#held.length <= HELD_MAX) return;
    const dropped = this.#held.shift();
    this.#log.warn({ command: dropped?.name, requestId: dropped?.requestId }, 'command dropped without a handler');
  }

  async #run(handler: CommandHandler, command: Command): Promise<void> {
    const { name, requestId } = command;
    let answer: Payload;
    try {
      answer = ((await handler(command)) ?? null) as Payload;
    } catch (error) {
      this.#log.warn({ command: name, requestId, reason: asMessage(error) }, 'command failed');
      answer = { error: asMessage(error) };
    }
    try {
      await this.#respond(requestId, answer);
    } catch (error) {
      const { code }: DeviceError = asDeviceError(error, 'internal');
      this.#log.warn({ command: name, requestId, code }, 'response not sent');
    }
  }
}

function asMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
