/** Lays out a snapshot as lines of text. Every name and text in it is escaped: devices and strangers choose them. */

import { escapeControls } from '@rollcall/output';
import { timeAway } from '../terminal.ts';
import type { NodeRow } from './fleet-snapshot.ts';
import type { Counted, ServerSnapshot } from './server-snapshot.ts';

export interface TextSize {
  readonly columns: number;
  readonly rows: number;
}

/** A whole number of lines, none longer than the columns. */
export function snapshotLines(snapshot: ServerSnapshot, { columns, rows }: TextSize): readonly string[] {
  const head = headLines(snapshot, columns);
  const nodes = nodeLines(snapshot, Math.max(3, Math.floor(rows / 3)));
  const left = rows - head.length - (nodes.length === 0 ? 0 : nodes.length + 1);
  const reasons = Math.min(snapshot.refusals.length, 5, Math.max(1, Math.floor((left - 4) / 3)));
  const counts = countLines(snapshot, reasons);
  const newest = newestLines(snapshot, left - (counts.length === 0 ? 1 : counts.length + 2));
  const sections = [head, nodes, counts, newest].filter((lines) => lines.length > 0);
  return sections
    .flatMap((lines, index) => (index === 0 ? lines : ['', ...lines]))
    .slice(0, rows)
    .map((line) => clip(line, columns));
}

/** The first code points of a text that has more. */
export function clip(text: string, columns: number): string {
  if (text.length <= columns) return text;
  const characters = [...text];
  return characters.length <= columns ? text : characters.slice(0, columns).join('');
}

function headLines(snapshot: ServerSnapshot, columns: number): readonly string[] {
  const { sessions, pendingConnections, persistentSessions, connects, messages, journal, refusals } = snapshot;
  const refused = sumOf(refusals, connects.perSecond !== undefined);
  const state = snapshot.isReady ? snapshot.status : 'not ready';
  const { node, nodes, unanswered } = snapshot;
  const serving = nodes.filter((one) => one.state === 'serving').length;
  const fleet = [`${serving} of ${nodes.length} nodes serving`, `answered by ${node}`];
  const rows: readonly (readonly [label: string, parts: readonly string[]])[] = [
    [
      nodes.length === 0 ? 'server' : 'fleet',
      [
        state,
        `version ${snapshot.version}`,
        ...(nodes.length === 0 ? [`up ${spanOf(snapshot.uptimeSeconds)}`] : fleet),
        snapshot.time,
      ],
    ],
    ...(unanswered.length === 0 ? [] : [['NO ANSWER', unanswered] as const]),
    [
      'sessions',
      [
        `connected ${sessions}`,
        `pending ${pendingConnections}`,
        `persistent ${persistentSessions}`,
        `connects ${rate(connects)}`,
        `refused ${rate(refused)}`,
      ],
    ],
    [
      'messages',
      [
        `in ${rate(messages.received)}`,
        `stored ${rate(messages.stored)}`,
        `out ${rate(messages.sent)}`,
        `dropped ${rate(messages.dropped)}`,
      ],
    ],
    [
      'journal',
      [
        journal.state,
        `waiting ${bytes(journal.queuedBytes)}`,
        `commit ${journal.commitMs === undefined ? '-' : `${journal.commitMs.toFixed(1)} ms`}`,
        `disk free ${bytes(journal.diskFreeBytes)}`,
      ],
    ],
    ['sinks', snapshot.sinks.map(sinkText)],
    ['expiring', snapshot.expiring.map((each) => expiryText(each, Date.parse(snapshot.time)))],
    [
      'busiest',
      snapshot.busiest.map(
        ({ device, bytesToday: { total, perSecond } }) =>
          `${short(device, 24)} ${bytes(total)}${perSecond ? ` +${bytes(perSecond)}/s` : ''}`,
      ),
    ],
  ];
  return rows.flatMap(([label, parts]) => wrap(label, parts.length === 0 ? ['none'] : parts, columns));
}

function sinkText({ name, isUp, isUntrusted, lagMessages, lagSeconds }: ServerSnapshot['sinks'][number]): string {
  const state = isUp ? 'up' : isUntrusted ? 'UNTRUSTED' : 'DOWN';
  const lag = lagMessages === 0 ? '' : `, ${lagMessages} behind (${spanOf(lagSeconds)})`;
  return `${short(name, 24)} ${state}${lag}`;
}

function expiryText({ kind, in7Days, in30Days, late, next }: ServerSnapshot['expiring'][number], now: number): string {
  const parts = [`${in7Days} in 7d`, `${in30Days} in 30d`, ...(late > 0 ? [`${late} LATE`] : [])];
  const first = next === undefined ? '' : `, next ${timeAway(Date.parse(next), now)}`;
  return `${kind}: ${parts.join(', ')}${first}`;
}

/** The first ones where there are many. */
function nodeLines({ nodes }: ServerSnapshot, most: number): readonly string[] {
  if (nodes.length === 0) return [];
  const shown = nodes.length > most ? nodes.slice(0, most - 1) : nodes;
  const rows = shown.map((one) => [
    short(one.name, 20),
    one.roles.join(),
    nodeState(one),
    one.sessions === undefined ? '-' : String(one.sessions),
    perSecondText(one.receivedPerSecond),
    perSecondText(one.refusedPerSecond),
    millisecondsText(one.commitP99Ms),
    millisecondsText(one.eventLoopLagMs),
    one.eventLoopBusy === undefined ? '-' : `${Math.round(one.eventLoopBusy * 100)}%`,
    one.journal ?? '-',
  ]);
  const titles = ['NODE', 'ROLES', 'STATE', 'CONNECTED', 'IN/S', 'REFUSED/S', 'ACK P99', 'LAG P99', 'BUSY', 'JOURNAL'];
  const more = nodes.length - shown.length;
  return [...columnsOf([titles, ...rows]), ...(more === 0 ? [] : [`${more} more`])];
}

function nodeState({ state, isReady, sessions }: NodeRow): string {
  if (sessions === undefined && state !== 'gone' && state !== 'deaf') return 'no answer';
  return isReady === false && state === 'serving' ? 'not ready' : state;
}

function millisecondsText(ms: number | undefined): string {
  return ms === undefined ? '-' : `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

function countLines({ refusals }: ServerSnapshot, most: number): readonly string[] {
  if (refusals.length === 0) return [];
  const shown = refusals.slice(0, most);
  const rest = refusals.slice(most);
  const rows = shown.map(({ by, reason, total, perSecond }) => [
    short(reason, 34),
    by,
    String(total),
    perSecondText(perSecond),
  ]);
  if (rest.length > 0) {
    const { total, perSecond } = sumOf(rest, rest[0]?.perSecond !== undefined);
    rows.push([`${rest.length} more`, '', String(total), perSecondText(perSecond)]);
  }
  return columnsOf([['REFUSED', 'BY', 'TOTAL', 'A SECOND'], ...rows]);
}

function newestLines({ newestRefusals }: ServerSnapshot, most: number): readonly string[] {
  if (newestRefusals.length === 0) return [];
  const rows = newestRefusals
    .slice(0, Math.max(0, most - 1))
    .map(({ time, name, cause, address, detail }) => [
      time.slice(11, 19),
      short(name || '-', 20),
      short(cause, 28),
      short(address, 39),
      detail,
    ]);
  return columnsOf([['TIME UTC', 'DEVICE', 'CAUSE', 'ADDRESS', 'DETAIL'], ...rows]);
}

function columnsOf(rows: readonly (readonly string[])[]): readonly string[] {
  const cells = rows.map((row) => row.map(escapeControls));
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

const LABEL_COLUMNS = 10;

/** A label and its parts, on as many lines as the columns need. */
function wrap(label: string, parts: readonly string[], columns: number): readonly string[] {
  const lines: string[] = [];
  let line = label.padEnd(LABEL_COLUMNS);
  let isEmpty = true;
  for (const part of parts.map(escapeControls)) {
    if (!isEmpty && line.length + 2 + part.length > columns) {
      lines.push(line);
      line = ' '.repeat(LABEL_COLUMNS);
      isEmpty = true;
    }
    line += isEmpty ? part : `  ${part}`;
    isEmpty = false;
  }
  return [...lines, line];
}

function short(text: string, most: number): string {
  const escaped = escapeControls(text);
  return escaped.length <= most ? escaped : `${clip(escaped, most - 2)}..`;
}

function sumOf(counts: readonly Counted[], hasRate: boolean): Counted {
  const sum = (amounts: readonly number[]) => amounts.reduce((total, amount) => total + amount, 0);
  return {
    total: sum(counts.map(({ total }) => total)),
    perSecond: hasRate ? sum(counts.map(({ perSecond }) => perSecond ?? 0)) : undefined,
  };
}

/** Totals when no second has passed between two readings. */
function rate({ total, perSecond }: Counted): string {
  return perSecond === undefined ? String(total) : `${perSecondText(perSecond)}/s`;
}

function perSecondText(perSecond: number | undefined): string {
  if (perSecond === undefined) return '-';
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : perSecond.toFixed(0);
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

function bytes(amount: number): string {
  const power = Math.min(UNITS.length - 1, amount < 1 ? 0 : Math.floor(Math.log2(amount) / 10));
  const scaled = amount / 1024 ** power;
  return `${scaled.toFixed(power > 0 && scaled < 10 ? 1 : 0)} ${UNITS[power]}`;
}

/** `45s`, `3h 2m`. */
function spanOf(seconds: number): string {
  return seconds < 60 ? `${seconds.toFixed(0)}s` : timeAway(seconds * 1000, 0).replace(/^in /, '');
}
