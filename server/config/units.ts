import { parseDecimal } from '@rollcall/protocol';

const DURATION_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  y: 365 * 86_400_000,
};
const SIZE_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

export const DURATION_RULE = 'a duration such as 500ms, 10s, 15m, 24h, 90d or 3y';
export const SIZE_RULE = 'a size such as 512B, 256KiB, 1MiB or 2GiB';

/** Milliseconds, or undefined when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  return parseQuantity(text, DURATION_MS);
}

/** Bytes, or undefined when the text is not a size. */
export function parseSize(text: string): number | undefined {
  return parseQuantity(text, SIZE_BYTES);
}

export const PERCENT_RULE = 'a part such as 5%, 20% or 100%';

/** Percent, 0 to 100, or undefined when the text is not a part. */
export function parsePercent(text: string): number | undefined {
  return parseDecimal(/^(\d{1,3})%$/.exec(text)?.[1], 0, 100);
}

/** The duration in the largest unit that expresses it exactly, as `parseDuration` reads it: 2592000000 is `30d`. */
export function formatDuration(ms: number): string {
  return formatQuantity(ms, DURATION_MS);
}

/** The size in the largest unit that expresses it exactly, as `parseSize` reads it: 16384 is `16KiB`. */
export function formatSize(bytes: number): string {
  return formatQuantity(bytes, SIZE_BYTES);
}

function formatQuantity(amount: number, units: Readonly<Record<string, number>>): string {
  const sorted = Object.entries(units).sort(([, a], [, b]) => b - a);
  const [unit, size] =
    sorted.find(([, each]) => amount !== 0 && amount % each === 0) ?? (sorted.at(-1) as [string, number]);
  return `${amount / size}${unit}`;
}

function parseQuantity(text: string, units: Readonly<Record<string, number>>): number | undefined {
  const parts = /^(\d{1,9})([A-Za-z]{1,3})$/.exec(text);
  if (parts === null) return undefined;
  const [, digits, unit] = parts as unknown as [string, string, string];
  const amount = parseDecimal(digits, 0);
  return amount !== undefined && Object.hasOwn(units, unit) ? amount * (units[unit] as number) : undefined;
}
