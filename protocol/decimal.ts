/**
 * The only parser of numbers in text from a file, a peer or a command line. `Number()` accepts blanks, signs, `0x10` and
 * `1e999`, and `Number.parseInt()` accepts any text behind a digit.
 */

/** A whole number in decimal digits alone, in this range; undefined for anything else. */
export function parseDecimal(text: unknown, least: number, most: number = Number.MAX_SAFE_INTEGER): number | undefined {
  return typeof text === 'string' && /^\d{1,16}$/.test(text) ? inRange(Number(text), least, most) : undefined;
}

/** The same with a fraction of up to nine digits: `0.25`. */
export function parseFraction(text: unknown, least: number, most: number): number | undefined {
  const isOne = typeof text === 'string' && /^\d{1,15}(?:\.\d{1,9})?$/.test(text);
  return isOne ? inRange(Number(text), least, most) : undefined;
}

function inRange(value: number, least: number, most: number): number | undefined {
  return value >= least && value <= most && value <= Number.MAX_SAFE_INTEGER ? value : undefined;
}
