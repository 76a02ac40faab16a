/**
 * A run as one HTML file that needs nothing else: verdict, assertions, timelines with the incidents in them, latency
 * percentiles, errors by cause, the machine. No script: it can be mailed, archived and opened anywhere.
 */

import type { RunResult, TimelinePoint } from '../run/result.ts';
import { METRICS } from '../scenario/expectation.ts';
import { drawChart, type Series, shortNumber } from './chart.ts';
import { describeCause, throttlingNote } from './error-causes.ts';
import { escapeXml } from './junit.ts';

const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5c6670; --line: #d9dee3; --paper: #fff; --card: #f6f8fa; --good: #1a7f37; --bad: #c62828; --c1: #0b62d6; --c2: #d9730d; --c3: #1a7f37; --c4: #8250df; --shade: #c6282818; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --line: #30363d; --paper: #0d1117; --card: #161b22; --good: #3fb950; --bad: #ff7b72; --c1: #58a6ff; --c2: #f0a04b; --c3: #3fb950; --c4: #bc8cff; --shade: #ff7b7222; } }
* { box-sizing: border-box; } body { margin: 0 auto; padding: 32px 24px 64px; max-width: 940px; font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
h1 { margin: 0; font-size: 28px; } h2 { margin: 36px 0 12px; font-size: 18px; } p { margin: 4px 0; color: var(--soft); }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 999px; font-weight: 600; color: #fff; background: var(--good); vertical-align: 5px; margin-left: 12px; font-size: 14px; } .failed .verdict { background: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 10px; margin: 22px 0; } .tile { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; } .tile b { display: block; font-size: 22px; font-variant-numeric: tabular-nums; } .tile span { color: var(--soft); font-size: 13px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { text-align: left; padding: 6px 10px; border-bottom: 1px solid var(--line); } th { color: var(--soft); font-weight: 500; font-size: 13px; } .n { text-align: right; } code { font: 13.5px ui-monospace, monospace; } .yes { color: var(--good); } .no { color: var(--bad); font-weight: 600; }
.tick { width: 34px; } .problem { border-left: 4px solid var(--bad); background: var(--card); padding: 10px 14px; margin: 14px 0; }
figure { margin: 0 0 20px; } figcaption { margin-bottom: 2px; } svg { width: 100%; height: auto; display: block; } .grid { stroke: var(--line); } .axis { fill: var(--soft); font-size: 11px; } polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round; } polyline.c1 { stroke: var(--c1); } polyline.c2 { stroke: var(--c2); } polyline.c3 { stroke: var(--c3); } polyline.c4 { stroke: var(--c4); } circle.c1 { fill: var(--c1); } circle.c2 { fill: var(--c2); } circle.c3 { fill: var(--c3); } circle.c4 { fill: var(--c4); }
.key { margin-left: 12px; font-size: 13px; color: var(--soft); } .key::before { content: ""; display: inline-block; width: 14px; height: 3px; margin-right: 5px; vertical-align: 3px; background: currentColor; } .key.c1::before { background: var(--c1); } .key.c2::before { background: var(--c2); } .key.c3::before { background: var(--c3); } .key.c4::before { background: var(--c4); }
.shade { fill: var(--shade); } .mark line { stroke: var(--bad); stroke-dasharray: 3 3; } .mark circle { fill: var(--bad); } .mark text { fill: #fff; font-size: 10px; font-weight: 600; } ol.marks { columns: 2; margin: 0 0 20px; padding-left: 24px; color: var(--soft); font-size: 14px; } footer { margin-top: 40px; color: var(--soft); font-size: 13px; }
`;

export function htmlReport(result: RunResult): string {
  const { scenario, verdict } = result;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeXml(scenario.name)}: ${verdict}</title><style>${STYLE}</style></head>
<body class="${verdict}">
<h1>${escapeXml(scenario.name)}<span class="verdict">${verdict}</span></h1>
<p>${escapeXml(scenario.about)}</p>
<p>${escapeXml(result.target)} · ${escapeXml(result.startedAt.replace('T', ' ').slice(0, 19))} UTC · ${result.tookSeconds.toFixed(0)} s · seed ${scenario.seed}</p>
${result.problems.map((problem) => `<div class="problem">${escapeXml(problem)}</div>`).join('\n')}
${tiles(result)}
${assertions(result)}
<h2>Timeline</h2>
${marks(result)}
${charts(result)}
${latencies(result)}
${errors(result)}
${reasons(result)}
${hosts(result)}
${allValues(result)}
<footer>${escapeXml(machine(result))}</footer>
</body></html>
`;
}

function tiles({ values, lagLimitMs: limit }: RunResult): string {
  const tile = (label: string, metric: string, format: (value: number) => string = shortNumber) => {
    const value = values[metric];
    return value === undefined ? '' : `<div class="tile"><b>${format(value)}</b><span>${label}</span></div>`;
  };
  const ms = (value: number) => `${shortNumber(value)} ms`;
  return `<div class="tiles">${[
    tile('devices', 'devices.total'),
    tile('messages acknowledged', 'messages.acknowledged'),
    tile('acknowledged, not in the journal', 'lost.journal'),
    tile('acknowledged, never delivered', 'lost.service'),
    tile('PUBACK p99', 'puback.p99', ms),
    tile('delivery p99', 'service.p99', ms),
    tile('wrongly allowed', 'acts.wronglyAllowed'),
    tile(
      `own delay of the simulator, p99${limit === undefined ? '' : `; ${shortNumber(limit)} ms allowed`}`,
      'simulator.lagP99',
      ms,
    ),
  ].join('')}</div>`;
}

function assertions(result: RunResult): string {
  if (result.assertions.length === 0) return '';
  const rows = result.assertions.map(({ text, holds, found, reason }) => {
    const metric = text.trim().split(/[\s=!<>]/, 1)[0] as string;
    return `<tr><td class="${holds ? 'yes' : 'no'}">${holds ? '✓' : '✗'}</td><td><code>${escapeXml(text)}</code></td><td class="n">${found === undefined ? escapeXml(reason ?? '') : withUnit(metric, found)}</td></tr>`;
  });
  return `<h2>Assertions</h2><table><tr><th class="tick"></th><th>expected</th><th class="n">found</th></tr>${rows.join('')}</table>`;
}

function marks(result: RunResult): string {
  if (result.marks.length === 0) return '';
  const items = result.marks.map(
    ({ at, for: length, text }) =>
      `<li>${at.toFixed(1)} s: ${escapeXml(text)}${length === undefined ? '' : ` for ${length} s`}</li>`,
  );
  return `<ol class="marks">${items.join('')}</ol>`;
}

function charts({ timeline, marks: all }: RunResult): string {
  const at = timeline.map((point) => point.at);
  const series = (name: string, colour: string, pick: (point: TimelinePoint) => number | undefined): Series => ({
    name,
    colour,
    values: timeline.map(pick),
  });
  const chart = (title: string, unit: string, lines: readonly Series[]) =>
    drawChart({ title, unit, at, series: lines, marks: all });
  return [
    chart('Devices connected', '', [series('connected', 'c1', (point) => point.connected)]),
    chart('Messages', 'per s', [
      series('sent', 'c1', (point) => point.sent),
      series('acknowledged', 'c3', (point) => point.acknowledged),
      series('received by the service', 'c4', (point) => point.received),
    ]),
    chart('Latency from the intended time', 'ms', [
      series('PUBACK p50', 'c3', (point) => point.pubackP50),
      series('PUBACK p99', 'c1', (point) => point.pubackP99),
      series('delivery p99', 'c4', (point) => point.serviceP99),
    ]),
    chart('Connections', 'per s', [
      series('connected', 'c1', (point) => point.connects),
      series('disconnected', 'c2', (point) => point.disconnects),
      series('errors', 'c4', (point) => point.errors),
    ]),
    chart("The simulator's own delay, p99", 'ms', [series('delay', 'c2', (point) => point.lagP99)]),
  ].join('\n');
}

function latencies(result: RunResult): string {
  const rows = Object.entries(result.latencies).map(
    ([name, { count, p50, p90, p99, p999, max }]) =>
      `<tr><td>${escapeXml(name)}</td><td class="n">${shortNumber(count)}</td>${[p50, p90, p99, p999, max].map((value) => `<td class="n">${value < 10 ? value.toFixed(2) : shortNumber(value)}</td>`).join('')}</tr>`,
  );
  return `<h2>Latencies, in milliseconds</h2><table><tr><th></th><th class="n">count</th><th class="n">p50</th><th class="n">p90</th><th class="n">p99</th><th class="n">p99.9</th><th class="n">max</th></tr>${rows.join('')}</table>
<p>Messages are measured from the time at which they were meant to be sent, so that a wait behind a slow answer counts.</p>`;
}

function errors(result: RunResult): string {
  const rows = Object.entries(result.errors).map(
    ([cause, count]) => `<tr><td>${escapeXml(describeCause(cause))}</td><td class="n">${count}</td></tr>`,
  );
  if (rows.length === 0) return '<h2>Errors</h2><p>None.</p>';
  const note = throttlingNote(result.values['devices.throttled'] ?? 0);
  return `<h2>Errors by cause</h2>${note === undefined ? '' : `<p>${escapeXml(note)}</p>`}<table><tr><th>cause</th><th class="n">count</th></tr>${rows.join('')}</table>`;
}

function reasons(result: RunResult): string {
  const rows = Object.entries(result.reasons).map(([key, count]) => {
    const at = key.indexOf('_');
    return `<tr><td>${escapeXml(key.slice(0, at).toUpperCase())}</td><td><code>${escapeXml(key.slice(at + 1))}</code></td><td class="n">${count}</td></tr>`;
  });
  if (rows.length === 0) return '';
  return `<h2>Reason codes of the broker</h2><table><tr><th>packet</th><th>reason</th><th class="n">count</th></tr>${rows.join('')}</table>`;
}

function hosts({ hosts: all = [] }: RunResult): string {
  if (all.length === 0) return '';
  const rows = all.map(
    ({ name, address, cores, workers, devices, sourceAddresses, clockOffsetMs, clockErrorMs }) =>
      `<tr><td>${escapeXml(name)}</td><td>${escapeXml(address)}</td>${[cores, workers, devices, sourceAddresses].map((count) => `<td class="n">${count}</td>`).join('')}<td class="n">${clockOffsetMs.toFixed(2)} ms</td><td class="n">± ${clockErrorMs.toFixed(2)} ms</td></tr>`,
  );
  return `<h2>Hosts</h2><table><tr><th>host</th><th>address</th><th class="n">cores</th><th class="n">threads</th><th class="n">devices</th><th class="n">source addresses</th><th class="n">clock ahead by</th><th class="n">known to</th></tr>${rows.join('')}</table>
<p>Times of each host are corrected by what its clock was ahead of the coordinator's; latencies from devices to the service are right to within what it is known to.</p>`;
}

function allValues(result: RunResult): string {
  const rows = Object.entries(result.values)
    .filter(([name]) => Object.hasOwn(METRICS, name))
    .map(
      ([name, value]) =>
        `<tr><td><code>${escapeXml(name)}</code></td><td>${escapeXml(METRICS[name]?.means ?? '')}</td><td class="n">${withUnit(name, value)}</td></tr>`,
    );
  return `<h2>All that was measured</h2><table><tr><th>metric</th><th></th><th class="n">value</th></tr>${rows.join('')}</table>`;
}

function withUnit(metric: string, value: number): string {
  const unit = { count: '', ms: ' ms', microseconds: ' µs', kilobytes: ' KiB' }[METRICS[metric]?.unit ?? 'count'];
  return `${Number.isInteger(value) ? value.toLocaleString('en-US') : value.toFixed(value < 10 ? 2 : 1)}${unit}`;
}

function machine({ machine: of, versions, workers }: RunResult): string {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  return `${of.cores} cores (${of.cpu}), ${of.memoryGiB} GiB, ${of.system} · simulator in ${workers} threads · ${programs.join(', ')}`;
}
