/**
 * The states of a twin, as device, server and services read and compare them: a JSON object with a version that grows with each change.
 * docs/twin.md describes the messages.
 */

import { isDeepStrictEqual } from 'node:util';

export type TwinObject = { readonly [member: string]: unknown };

export interface TwinState {
  /** 0 while there is none, else 1 or more. */
  readonly version: number;
  readonly state: TwinObject;
}

/** `{"version": 7, "state": {...}}`; undefined for anything else. */
export function readTwinState(value: unknown): TwinState | undefined {
  const { version, state } = asTwinObject(value) ?? {};
  const found = asTwinObject(state);
  if (!Number.isSafeInteger(version) || (version as number) < 0 || found === undefined) return undefined;
  return { version: version as number, state: found };
}

/** A JSON object; undefined for anything else. */
export function asTwinObject(value: unknown): TwinObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as TwinObject) : undefined;
}

/** JSON merge patch (RFC 7396): `null` removes a member. */
export function mergeTwin(target: TwinObject, patch: TwinObject): TwinObject {
  return merge(target, patch) as TwinObject;
}

function merge(target: unknown, patch: unknown): unknown {
  const changes = asTwinObject(patch);
  if (changes === undefined) return patch;
  const merged = new Map(Object.entries(asTwinObject(target) ?? {}));
  for (const [name, change] of Object.entries(changes)) {
    if (change === null) merged.delete(name);
    else merged.set(name, merge(merged.get(name), change));
  }
  return Object.fromEntries(merged);
}

/** What of `desired` is not in `reported`: members that differ or are missing, objects compared member by member. */
export function twinDifference(desired: TwinObject, reported: TwinObject): TwinObject {
  const missing: [string, unknown][] = [];
  for (const [name, value] of Object.entries(desired)) {
    const [inner, current] = [asTwinObject(value), Object.hasOwn(reported, name) ? reported[name] : undefined];
    const before = asTwinObject(current);
    if (inner !== undefined && before !== undefined) {
      const deeper = twinDifference(inner, before);
      if (Object.keys(deeper).length > 0) missing.push([name, deeper]);
    } else if (!isDeepStrictEqual(value, current)) {
      missing.push([name, value]);
    }
  }
  return Object.fromEntries(missing);
}
