/**
 * How quantities are written in a scenario: durations, sizes, shares of a group, and clock skews. Each is a text with a
 * pattern of its own, so that editors know it from the JSON Schema, and becomes a number. It knows no scenario.
 */

import { parseFraction } from '@rollcall/protocol';
import { z } from 'zod';

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const UNIT_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2 };

const DURATION = '^(\\d{1,9}(?:\\.\\d{1,3})?)(ms|s|m|h|d)$';
const SKEW = '^[+-]\\d{1,9}(?:\\.\\d{1,3})?(ms|s|m|h|d)$';
/** What nine digits can say. */
const MOST = 999_999_999.999;
const SIZE = '^(\\d{1,9})(B|KiB|MiB)$';
const SHARE = '^(\\d{1,3}(?:\\.\\d{1,3})?%|\\d{1,7})$';

const DURATION_RULE = 'a duration such as 500ms, 10s, 5m or 1h';
const SKEW_RULE = 'a duration with its sign, such as -1h or +90s';
const SIZE_RULE = 'a size such as 200B or 4KiB';
const SHARE_RULE = 'a share such as 10%, or a number of devices';

/** A part of a group: of a hundred, or a number of devices. */
export type Share = { readonly percent: number } | { readonly devices: number };

/** Milliseconds, or undefined when the text is none. */
export function parseDuration(text: string): number | undefined {
  const parts = new RegExp(DURATION).exec(text);
  return parts === null
    ? undefined
    : (parseFraction(parts[1], 0, MOST) as number) * (UNIT_MS[parts[2] as string] as number);
}

function parseSkew(text: string): number | undefined {
  if (!new RegExp(SKEW).test(text)) return undefined;
  return (text.startsWith('-') ? -1 : 1) * (parseDuration(text.slice(1)) as number);
}

function parseSize(text: string): number | undefined {
  const parts = new RegExp(SIZE).exec(text);
  return parts === null
    ? undefined
    : (parseFraction(parts[1], 0, MOST) as number) * (UNIT_BYTES[parts[2] as string] as number);
}

function parseShare(text: string): Share | undefined {
  if (!new RegExp(SHARE).test(text)) return undefined;
  if (!text.endsWith('%')) {
    const devices = parseFraction(text, 1, MOST);
    return devices === undefined ? undefined : { devices };
  }
  const percent = parseFraction(text.slice(0, -1), 0, 100);
  return percent === undefined || percent === 0 ? undefined : { percent };
}

function quantity<T>(parse: (text: string) => T | undefined, rule: string, pattern: string) {
  return z
    .string({ error: `expected ${rule}` })
    .meta({ pattern, description: rule })
    .transform((text, context) => {
      const value = parse(text);
      if (value !== undefined) return value;
      context.addIssue({ code: 'custom', message: `expected ${rule}` });
      return z.NEVER;
    });
}

/** Milliseconds, zero or more. */
export const duration = quantity(parseDuration, DURATION_RULE, DURATION);

/** Milliseconds, more than zero. */
export const timeSpan = quantity(
  (text) => (parseDuration(text) ? parseDuration(text) : undefined),
  `${DURATION_RULE}, longer than zero`,
  DURATION,
);

/** Milliseconds, also negative ones. */
export const skew = quantity(parseSkew, SKEW_RULE, SKEW);

/** Bytes. */
export const size = quantity(parseSize, SIZE_RULE, SIZE);

/** Numbers without a unit are what YAML makes of `revoke: 5`. */
export const share = z
  .union([z.string(), z.number()], { error: `expected ${SHARE_RULE}` })
  .meta({ description: SHARE_RULE })
  .transform((value, context): Share => {
    const parsed = parseShare(String(value));
    if (parsed !== undefined) return parsed;
    context.addIssue({ code: 'custom', message: `expected ${SHARE_RULE}` });
    return z.NEVER;
  });

/** From 0 to 1, written as a percentage. */
export const probability = quantity(
  (text) => {
    const parsed = text === '0%' ? { percent: 0 } : parseShare(text);
    return text.endsWith('%') && parsed !== undefined && 'percent' in parsed ? parsed.percent / 100 : undefined;
  },
  'a percentage such as 2%',
  '^\\d{1,3}(?:\\.\\d{1,3})?%$',
);
