/** Lays results out as a markdown page. */

import type { Machine } from './machine.ts';
import type { Result } from './results.ts';
import { OWN_NAMES, PEER_NAMES, SERVER_NAMES, type ServerName } from './servers.ts';
import type { Spread } from './statistics.ts';

export interface Report {
  readonly machine: Machine;
  readonly results: readonly Result[];
  /** Why a server wasn't measured. */
  readonly missing: Partial<Record<ServerName, string>>;
}

export function markdown({ machine, results, missing }: Report): string {
  const { cpu, cores, kernel, node, openssl, versions, loadBefore } = machine;
  const names = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const sections = [
    `${cores} cores of ${cpu}, ${kernel}, Node ${node} with OpenSSL ${openssl}; ${names.join(', ')}; load average before: ${loadBefore.toFixed(1)}`,
    mainTable(results),
  ];
  const loads = loadTable(results);
  if (loads !== '') sections.push(loads);
  const remarks = [
    ...results.flatMap((result) => result.remarks.map((remark) => `${result.row}: ${remark}`)),
    ...Object.entries(missing).map(([name, why]) => `${name} was not measured: ${why}`),
  ];
  if (remarks.length > 0) sections.push(remarks.map((remark) => `- ${remark}`).join('\n'));
  return `${sections.join('\n\n')}\n`;
}

const TITLES: Readonly<Record<ServerName, string>> = {
  rollcall: 'Rollcall',
  rollcallOnBun: 'on Bun',
  aedes: 'aedes',
  mosquitto: 'Mosquitto',
};

function mainTable(results: readonly Result[]): string {
  const own = OWN_NAMES.filter((name) => results.some(({ figures }) => figures[name] !== undefined));
  const servers = SERVER_NAMES.filter((name) => name !== 'rollcallOnBun' || own.includes(name));
  const columns = own.flatMap((name) => PEER_NAMES.map((peer) => [name, peer] as const));
  const over = columns.map(([name, peer]) => `${name === 'rollcall' ? '' : 'Bun '}× ${TITLES[peer]}`);
  const head = ['', 'unit', ...servers.map((name) => TITLES[name]), ...over, 'to reach', 'reached'];
  const rows = results.map(({ row, unit, figures, ratios, goals }) => [
    row,
    unit,
    ...servers.map((name) => figure(figures[name])),
    ...columns.map(([name, peer]) => ratio(ratios[name]?.[peer])),
    goals.map((goal) => goal.text).join('; '),
    goals.map((goal) => (goal.reached ? 'yes' : 'no')).join('; '),
  ]);
  return table(head, rows);
}

/** What the load cost, so that a run in which it was the bottleneck can be seen. */
function loadTable(results: readonly Result[]): string {
  const rows = results.flatMap(({ row, load, perSecond }) =>
    SERVER_NAMES.flatMap((name) => {
      const share = load?.[name];
      if (share === undefined) return [];
      const busy = (part: number) => `${(part * 100).toFixed(0)} %`;
      const rate = (perSecond?.[name] ?? 0).toFixed(0);
      return [[row, name, rate, busy(share.serverBusy), busy(share.loadBusy), share.cpu.toFixed(1)]];
    }),
  );
  if (rows.length === 0) return '';
  return table(['load', 'server', 'per second', 'server busy', 'load busy', 'load µs CPU'], rows);
}

/** Median, and the range of the processes' own medians. */
function figure(value: Spread | undefined): string {
  if (value === undefined) return '';
  const { median, low, high } = value;
  return low === high ? digits(median) : `${digits(median)} (${digits(low)}–${digits(high)})`;
}

function ratio(value: Spread | undefined): string {
  if (value === undefined) return '';
  return `${value.median.toFixed(2)} (${value.low.toFixed(2)}–${value.high.toFixed(2)})`;
}

function digits(value: number): string {
  return value.toFixed(value < 100 ? 1 : 0);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
  return lines.join('\n');
}
