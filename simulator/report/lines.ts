/** A run as plain lines of text: one a second while it runs, and its end. */

import type { RunSnapshot } from '../run/record.ts';
import type { RunResult } from '../run/result.ts';
import { METRICS } from '../scenario/expectation.ts';
import { shortNumber } from './chart.ts';
import { causeSentences, throttlingNote } from './error-causes.ts';

const CAUSES_SHOWN = 6;
const CAUSES_LISTED = 12;

/** One line, for a terminal and for a log alike. */
export function secondLine(snapshot: RunSnapshot): string {
  const { at, connected, devices, acknowledged, pubackP50, pubackP99, errors, errorsByCause, reasons, unacknowledged } =
    snapshot;
  const codes = causesOf(reasons);
  const latency =
    pubackP50 === undefined || pubackP99 === undefined
      ? ''
      : `, PUBACK p50 ${pubackP50.toFixed(1)} ms p99 ${pubackP99.toFixed(1)} ms`;
  return `${at.toFixed(0)} s: ${connected} of ${devices} connected, ${acknowledged} messages/s${latency}, ${unacknowledged} unacknowledged, ${errors} errors${errors === 0 ? '' : `; in all ${causesOf(errorsByCause)}`}${codes === '' ? '' : `; reason codes ${codes}`}`;
}

/** The most frequent causes. */
function causesOf(errors: Readonly<Record<string, number>>): string {
  return Object.entries(errors)
    .sort(([, a], [, b]) => b - a)
    .slice(0, CAUSES_SHOWN)
    .map(([cause, count]) => `${cause} ${count}`)
    .join(', ');
}

/** A few lines that are drawn over themselves. */
export function liveScreen(name: string, durationSeconds: number, snapshot: RunSnapshot): readonly string[] {
  const { totals, errorsByCause, reasons, at } = snapshot;
  const share = Math.min(1, at / durationSeconds);
  const width = 30;
  const bar = '#'.repeat(Math.round(share * width)).padEnd(width, '.');
  return [
    `${name}  [${bar}] ${at.toFixed(0)} of ${durationSeconds} s`,
    `devices   ${snapshot.connected} connected, ${snapshot.inFleet} in the fleet, ${snapshot.refused} refused a certificate, ${snapshot.connectionRefused} refused by the broker, of ${snapshot.devices}`,
    `messages  ${shortNumber(totals.sent)} sent, ${shortNumber(totals.acknowledged)} acknowledged, ${shortNumber(totals.received)} received; ${snapshot.acknowledged}/s`,
    `latency   PUBACK p50 ${ms(snapshot.pubackP50)} p99 ${ms(snapshot.pubackP99)}; delivery p99 ${ms(snapshot.serviceP99)}; own delay p99 ${ms(snapshot.lagP99)}`,
    ...enrollingLine(snapshot),
    `errors    ${causesOf(errorsByCause) || 'none'}`,
    `reasons   ${causesOf(reasons) || 'none'}`,
  ];
}

/** While devices wait for a certificate because the server limits the rate. */
function enrollingLine({ totals, devices, inFleet, refused, connectionRefused }: RunSnapshot): readonly string[] {
  if (totals.throttled === 0) return [];
  const waiting = devices - inFleet - refused - connectionRefused;
  return [`enrolling ${waiting} wait for a certificate; the server limited the rate ${totals.throttled} times`];
}

function noteOf({ values }: RunResult): readonly string[] {
  const note = throttlingNote(values['devices.throttled'] ?? 0);
  return note === undefined ? [] : [note];
}

export function verdictLines(result: RunResult): string {
  const lines = result.assertions.map(({ text, holds, found, reason }) => {
    const metric = text.trim().split(/[\s=!<>]/, 1)[0] as string;
    const unit = METRICS[metric]?.unit === 'ms' ? ' ms' : '';
    return `${holds ? 'ok  ' : 'FAIL'}  ${text}${found === undefined ? `: ${reason}` : `: ${found.toFixed(unit === '' ? 0 : 1)}${unit}`}`;
  });
  const { values } = result;
  const own = [
    `own delay p99 ${ms(values['simulator.lagP99'])}${result.lagLimitMs === undefined ? '' : ` of ${result.lagLimitMs} ms`}`,
    ...(values['simulator.cpuPerMessage'] === undefined
      ? []
      : [`${values['simulator.cpuPerMessage'].toFixed(1)} µs CPU per message`]),
    ...(values['simulator.memoryPerDevice'] === undefined
      ? []
      : [`${values['simulator.memoryPerDevice'].toFixed(1)} KiB per device`]),
  ];
  return [
    ...lines,
    ...(result.hosts ?? []).map(
      ({ name, devices, workers, clockOffsetMs, clockErrorMs }) =>
        `host ${name}: ${devices} devices in ${workers} threads, clock ${clockOffsetMs.toFixed(2)} ms ahead (± ${clockErrorMs.toFixed(2)} ms)`,
    ),
    ...(Object.keys(result.errors).length === 0
      ? []
      : ['errors:', ...causeSentences(result.errors, CAUSES_LISTED).map((line) => `  ${line}`)]),
    ...(Object.keys(result.reasons).length === 0 ? [] : [`reason codes: ${causesOf(result.reasons)}`]),
    ...noteOf(result),
    ...result.problems.map((problem) => `FAIL  ${problem}`),
    `${result.scenario.name}: ${result.verdict}; ${values['devices.total']} devices, ${values['messages.acknowledged']} of ${values['messages.sent']} messages acknowledged; simulator: ${own.join(', ')}`,
  ].join('\n');
}

function ms(value: number | undefined): string {
  return value === undefined ? '-' : `${value.toFixed(1)} ms`;
}
