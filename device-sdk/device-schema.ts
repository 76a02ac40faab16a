/**
 * What an application says about its streams, events, commands, broadcasts and twin: types for the compiler, and if it
 * likes, a parser each for what comes and goes. Without them everything is allowed, and unknown.
 */

import { DeviceError } from './device-error.ts';
import type { Payload } from './payload.ts';

/** A JSON object. */
export type JsonObject = { readonly [key: string]: unknown };

/**
 * The type argument of `Device.open<Schema>()`. Every part may be left out.
 *
 *     interface Valve extends DeviceSchema {
 *       streams: { pressure: { bar: number } };
 *       commands: { open: { request: { percent: number }; response: { position: number } } };
 *       twin: { desired: { interval: number }; reported: { interval: number } };
 *     }
 */
export interface DeviceSchema {
  readonly streams?: object;
  readonly events?: object;
  /** By name: `{ request, response }`. */
  readonly commands?: object;
  readonly broadcasts?: object;
  readonly twin?: { readonly desired: object; readonly reported: object };
}

type Part<S extends DeviceSchema, Name extends keyof DeviceSchema, Otherwise> = S extends {
  readonly [K in Name]: infer Own extends object;
}
  ? Own
  : Otherwise;

export type StreamsOf<S extends DeviceSchema> = Part<S, 'streams', Readonly<Record<string, Payload>>>;
export type EventsOf<S extends DeviceSchema> = Part<S, 'events', Readonly<Record<string, Payload>>>;
export type CommandsOf<S extends DeviceSchema> = Part<S, 'commands', Readonly<Record<string, AnyExchange>>>;
export type BroadcastsOf<S extends DeviceSchema> = Part<S, 'broadcasts', Readonly<Record<string, unknown>>>;
export type DesiredOf<S extends DeviceSchema> =
  Part<S, 'twin', AnyTwin> extends { desired: infer D extends object } ? D : JsonObject;
export type ReportedOf<S extends DeviceSchema> =
  Part<S, 'twin', AnyTwin> extends { reported: infer R extends object } ? R : JsonObject;
export type RequestOf<Exchange> = Exchange extends { readonly request: infer Request } ? Request : unknown;
export type ResponseOf<Exchange> = Exchange extends { readonly response: infer Response } ? Response : unknown;

interface AnyExchange {
  readonly request: unknown;
  readonly response: unknown;
}

interface AnyTwin {
  readonly desired: JsonObject;
  readonly reported: JsonObject;
}

/** Anything with a `parse` that returns the value, or another in its place, or throws: a zod schema, for example. */
export interface Parser {
  parse(value: unknown): unknown;
}

type Parsers = Readonly<Record<string, Parser>>;

/** Parsers by name. What has none is not looked at. */
export interface DeviceParsers {
  /** Of payloads, before they are queued: `publish` rejects with `request_invalid`. */
  readonly streams?: Parsers;
  readonly events?: Parsers;
  /** Of requests, before their handler runs: the answer is an error. */
  readonly commands?: Parsers;
  /** Of broadcasts, before their handler runs: those that don't fit are logged. */
  readonly broadcasts?: Parsers;
  /** Of the desired state of the twin: a version that doesn't fit is logged and passed over. */
  readonly desired?: Parser;
}

/** Throws `request_invalid`, without the parser's own words: they could quote the value. */
export function parsed(parser: Parser | undefined, value: unknown, what: string): unknown {
  if (parser === undefined) return value;
  try {
    return parser.parse(value);
  } catch (error) {
    throw new DeviceError('request_invalid', { reason: `${what} does not fit its schema`, cause: error });
  }
}
