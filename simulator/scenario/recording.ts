/**
 * Recordings of real devices as rows of time and values: CSV (RFC 4180) with a heading, or one JSON object a line. Times
 * are ISO 8601, or seconds or milliseconds since 1970. It replays nothing.
 */

import type { ReplayModel } from './schema.ts';

export interface Recording {
  /** Milliseconds since the first row, ascending. */
  readonly times: Float64Array;
  /** One object a row, by the names of the payload. */
  readonly rows: readonly Readonly<Record<string, number | string>>[];
}

/** A recording that can't be used; the message names the line and what was expected. */
class RecordingError extends Error {
  override readonly name = 'RecordingError';
}

/** Later numbers than this are milliseconds: as seconds it would be the year 5138. */
const SECONDS_MAX = 1e11;

export function parseRecording(text: string, { file, time, columns }: ReplayModel): Recording {
  const records = file.endsWith('.csv') ? csvRecords(text, file) : ndjsonRecords(text, file);
  const rows: { readonly at: number; readonly values: Record<string, number | string> }[] = [];
  for (const { line, fields } of records) {
    const at = timeOf(fields[time]);
    if (at === undefined) throw new RecordingError(`${file}:${line}: expected a time in column "${time}"`);
    const values: Record<string, number | string> = {};
    for (const [name, column] of Object.entries(columns)) {
      const value = fields[column];
      if (value === undefined) throw new RecordingError(`${file}:${line}: expected a column "${column}"`);
      values[name] = numberOrText(value);
    }
    rows.push({ at, values });
  }
  if (rows.length === 0) throw new RecordingError(`${file}: expected one row or more`);
  rows.sort((a, b) => a.at - b.at);
  const first = (rows[0] as { readonly at: number }).at;
  return { times: Float64Array.from(rows, (row) => row.at - first), rows: rows.map((row) => row.values) };
}

interface RawRecord {
  readonly line: number;
  readonly fields: Readonly<Record<string, unknown>>;
}

function ndjsonRecords(text: string, file: string): readonly RawRecord[] {
  return text.split('\n').flatMap((content, index): RawRecord[] => {
    if (content.trim() === '') return [];
    try {
      const fields: unknown = JSON.parse(content);
      if (typeof fields === 'object' && fields !== null)
        return [{ line: index + 1, fields: fields as RawRecord['fields'] }];
    } catch {
      // the error follows below
    }
    throw new RecordingError(`${file}:${index + 1}: expected one JSON object on each line`);
  });
}

function csvRecords(text: string, file: string): readonly RawRecord[] {
  const [heading, ...rest] = csvRows(text);
  if (heading === undefined) throw new RecordingError(`${file}: expected a heading`);
  return rest.map(({ line, cells }) => {
    if (cells.length !== heading.cells.length) {
      throw new RecordingError(`${file}:${line}: expected ${heading.cells.length} cells, found ${cells.length}`);
    }
    return { line, fields: Object.fromEntries(heading.cells.map((name, at) => [name, cells[at]])) };
  });
}

interface CsvRow {
  readonly line: number;
  readonly cells: readonly string[];
}

/** Quoted cells may hold commas, doubled quotes and line ends (RFC 4180, section 2). */
function csvRows(text: string): readonly CsvRow[] {
  const rows: CsvRow[] = [];
  let line = 1;
  let start = 1;
  let cells: string[] = [];
  let cell = '';
  let isQuoted = false;
  const endRow = () => {
    if (cells.length > 0 || cell !== '') rows.push({ line: start, cells: [...cells, cell] });
    cells = [];
    cell = '';
    start = line;
  };
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at] as string;
    if (character === '\n') line += 1;
    if (isQuoted) {
      if (character !== '"') cell += character;
      else if (text[at + 1] === '"') cell += text[at++];
      else isQuoted = false;
    } else if (character === '"' && cell === '') isQuoted = true;
    else if (character === ',') {
      cells.push(cell);
      cell = '';
    } else if (character === '\n') endRow();
    else if (character !== '\r') cell += character;
  }
  endRow();
  return rows;
}

function timeOf(value: unknown): number | undefined {
  if (typeof value === 'number' || (typeof value === 'string' && /^-?\d+(\.\d+)?$/.test(value))) {
    const number = Number(value);
    if (!Number.isFinite(number)) return undefined;
    return Math.abs(number) < SECONDS_MAX ? number * 1_000 : number;
  }
  const ms = typeof value === 'string' ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

function numberOrText(value: unknown): number | string {
  if (typeof value === 'number') return value;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  const number = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? Number(text) : Number.NaN;
  return Number.isFinite(number) ? number : text;
}
