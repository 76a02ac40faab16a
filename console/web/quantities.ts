/** Numbers as people read them: counts, bytes, rates and spans of time. */

const COUNT = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 0 });
const SMALL = new Intl.NumberFormat('en-GB', { maximumFractionDigits: 1 });
const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

/** `12,345`. */
export function countText(amount: number): string {
  return COUNT.format(amount);
}

/** How far a sink is: a number, or a text of several where several nodes write the journal. */
export function cursorText(cursor: number | string): string {
  return typeof cursor === 'number' ? countText(cursor) : cursor;
}

/** One decimal below ten: `0.4`, `9.5`, `118`. */
export function rateText(amount: number): string {
  return amount < 10 ? SMALL.format(amount) : COUNT.format(amount);
}

/** `1.5 MiB`. */
export function bytesText(bytes: number): string {
  const power = bytes < 1 ? 0 : Math.min(BYTE_UNITS.length - 1, Math.floor(Math.log2(bytes) / 10));
  const scaled = bytes / 1024 ** power;
  return `${power > 0 && scaled < 10 ? scaled.toFixed(1) : COUNT.format(scaled)} ${BYTE_UNITS[power]}`;
}

/** `3.5 ms`, `45 s`, `3 h 2 min`, `12 d`. */
export function spanText(seconds: number): string {
  if (seconds < 1) return `${rateText(seconds * 1000)} ms`;
  if (seconds < 60) return `${COUNT.format(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return days < 10 && hours % 24 > 0 ? `${days} d ${hours % 24} h` : `${COUNT.format(days)} d`;
}

/** `1 device`, `3 devices`. */
export function countOf(amount: number, one: string, several = `${one}s`): string {
  return `${countText(amount)} ${amount === 1 ? one : several}`;
}
