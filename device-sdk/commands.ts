/**
 * Dispatches commands to handlers and returns their responses. MQTT delivers a command at least once; the dispatcher runs it
 * at most once, also over reboots, and always responds.
 */

import type { UserProperty } from '@rollcall/protocol';
import type { CommandLedger } from './command-ledger.ts';
import { asDeviceError, type DeviceError } from './device-error.ts';
import { type Parser, parsed } from './device-schema.ts';
import type { DeviceLog } from './device-state.ts';
import type { PacketProperties } from './mqtt-codec/index.ts';
import type { Payload } from './payload.ts';
import type { RequestedReply } from './reply.ts';
import type { Schedule } from './schedule.ts';

export interface Command<Request = unknown> {
  readonly name: string;
  /** Names the answer's topic; unique per command. */
  readonly requestId: string;
  readonly payload: Buffer;
  /** MIME type; undefined where the sender gave none, or without MQTT 5, as the next three. */
  readonly contentType?: string | undefined;
  /** In the order of the sender. */
  readonly userProperties?: readonly UserProperty[] | undefined;
  /** Where the sender wants the answer; it goes there if the device may send responses there, else to its own topic. */
  readonly responseTopic?: string | undefined;
  /** Sent with the answer. */
  readonly correlationData?: Buffer | undefined;
  /** Aborted when the time for the answer is over, or the device is closed. */
  readonly signal: AbortSignal;
  /** The payload as JSON, as the command's parser returned it if there is one; throws a SyntaxError when it isn't JSON. */
  json(): Request;
}

/** What it returns is published as the response; what it throws as `{"error": message}`. */
export type CommandHandler<Request = never, Response = unknown> = (
  command: Command<Request>,
) => Response | Promise<Response>;

export interface CommandOptions {
  /** Seconds for the answer; after that it is `{"error":"timeout"}`, whatever the handler says. Default 60. */
  readonly timeout?: number;
}

export interface CommandDispatcherOptions {
  /** Resolves when the answer is safe. */
  readonly respond: (requestId: string, payload: Payload, requested: RequestedReply | undefined) => Promise<void>;
  readonly ledger: CommandLedger;
  readonly parsers: Readonly<Record<string, Parser>>;
  readonly schedule: Schedule;
  readonly log: DeviceLog;
}

/** Commands that came before their handler was registered, at most. */
const HELD_MAX = 64;
/** Handlers that run at one time; the others wait. */
const RUNNING_MAX = 16;
const TIMEOUT_S = 60;

interface RegisteredHandler {
  readonly handler: CommandHandler;
  readonly timeout: number;
}

export class CommandDispatcher {
  readonly #options: CommandDispatcherOptions;
  readonly #handlers = new Map<string, RegisteredHandler>();
  readonly #ending = new AbortController();
  #held: Command<never>[] = [];
  #waiting: (() => void)[] = [];
  #running = 0;
  readonly #answering = new Set<Promise<void>>();

  /** Responds to commands that an earlier run started and did not complete; they are not run again. */
  constructor(options: CommandDispatcherOptions) {
    this.#options = options;
    for (const requestId of options.ledger.interrupted) void this.#answer(requestId, { error: 'interrupted' });
  }

  /** One handler per name, `*` for the rest; a later one takes the place of an earlier. Held commands run at once. */
  register(name: string, handler: CommandHandler, { timeout = TIMEOUT_S }: CommandOptions = {}): void {
    this.#handlers.set(name, { handler, timeout });
    const held = this.#held;
    this.#held = [];
    for (const command of held) this.#dispatch(command);
  }

  /** Resolves when the command is recorded; undefined for a duplicate. Rejects if it cannot be recorded. */
  deliver(
    name: string,
    requestId: string,
    payload: Buffer,
    properties: PacketProperties = {},
  ): Promise<void> | undefined {
    const { ledger } = this.#options;
    if (ledger.knows(requestId)) return undefined;
    return ledger.begin(requestId).then(() => {
      const json = () => JSON.parse(payload.toString('utf8')) as never;
      const { contentType, userProperties, responseTopic, correlationData } = properties;
      this.#dispatch({
        ...{ name, requestId, payload, json, signal: this.#ending.signal, contentType, userProperties, responseTopic },
        correlationData: correlationData === undefined ? undefined : Buffer.from(correlationData),
      });
    });
  }

  /** Running handlers continue; their responses are discarded. */
  async close(): Promise<void> {
    this.#ending.abort();
    this.#waiting = [];
    await Promise.all(this.#answering);
    await this.#options.ledger.close();
  }

  #dispatch(command: Command<never>): void {
    const registered = this.#handlers.get(command.name) ?? this.#handlers.get('*');
    if (registered !== undefined) this.#runBounded(() => this.#run(registered, command));
    else this.#hold(command);
  }

  #hold(command: Command<never>): void {
    this.#held.push(command);
    if (this.#held.length <= HELD_MAX) return;
    const dropped = this.#held.shift() as Command<never>;
    const { name, requestId } = dropped;
    this.#options.log.warn({ command: name, requestId }, 'command dropped without a handler');
    void this.#answer(requestId, { error: 'no handler' }, dropped);
  }

  #runBounded(run: () => Promise<void>): void {
    if (this.#ending.signal.aborted) return;
    if (this.#running >= RUNNING_MAX) {
      this.#waiting.push(() => this.#runBounded(run));
      return;
    }
    this.#running += 1;
    void run().finally(() => {
      this.#running -= 1;
      this.#waiting.shift()?.();
    });
  }

  async #run({ handler, timeout }: RegisteredHandler, command: Command<never>): Promise<void> {
    const { schedule, parsers } = this.#options;
    const { name, requestId } = command;
    const timeLimit = new AbortController();
    let cancel: () => void = () => {};
    const timedOut = new Promise<Payload>((resolve) => {
      cancel = schedule(timeout * 1_000, () => {
        timeLimit.abort();
        resolve({ error: 'timeout' });
      });
    });
    const signal = AbortSignal.any([this.#ending.signal, timeLimit.signal]);
    const work = async (): Promise<Payload> => {
      try {
        const parser = parsers[name];
        let json = command.json;
        if (parser !== undefined) {
          const request = parsed(parser, command.json(), 'the request') as never;
          json = () => request;
        }
        return ((await handler({ ...command, json, signal })) ?? null) as Payload;
      } catch (error) {
        this.#options.log.warn({ command: name, requestId, reason: asMessage(error) }, 'command failed');
        return { error: asMessage(error) };
      }
    };
    const answer = await Promise.race([work(), timedOut]);
    cancel();
    if (!this.#ending.signal.aborted) await this.#answer(requestId, answer, command);
  }

  /** `command`: undefined for one of an earlier run, of which only the id is known. */
  #answer(requestId: string, payload: Payload, command?: Command<never>): Promise<void> {
    const answering = this.#sendResponse(requestId, payload, command).finally(() => this.#answering.delete(answering));
    this.#answering.add(answering);
    return answering;
  }

  /** Never rejects. */
  async #sendResponse(requestId: string, payload: Payload, command: Command<never> | undefined): Promise<void> {
    const { respond, ledger, log } = this.#options;
    const { responseTopic, correlationData } = command ?? {};
    try {
      await respond(requestId, payload, command && { responseTopic, correlationData });
      ledger.end(requestId);
    } catch (error) {
      const { code }: DeviceError = asDeviceError(error, 'internal');
      log.warn({ requestId, code }, 'response not sent');
    }
  }
}

function asMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
