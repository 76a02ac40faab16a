import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { describeWithClients, runClient } from '../../test/fixtures/real-client.ts';
import { zeroCounters } from '../devices/counters.ts';
import type { RunSnapshot } from '../run/record.ts';
import { RESULT_FORMAT, type RunResult, resultSchema } from '../run/result.ts';
import { differences, evaluateGate, type Gate, parseGate } from './compare.ts';
import { htmlReport } from './html.ts';
import { junitReport } from './junit.ts';
import { liveScreen, secondLine, verdictLines } from './lines.ts';
import { prometheusText, servePrometheus } from './prometheus.ts';

const point = (at: number) => ({
  at,
  connected: at * 2,
  sent: 10,
  acknowledged: 9,
  received: 9,
  connects: 1,
  disconnects: 0,
  errors: 0,
  pubackP50: 3,
  pubackP99: 12 + at,
});

const result: RunResult = {
  format: RESULT_FORMAT,
  scenario: { name: 'storm', about: '<b>all</b> & "everything"', seed: 1, durationSeconds: 20 },
  target: 'mqtts://localhost:8883',
  startedAt: '2026-11-22T12:00:00.000Z',
  tookSeconds: 21.5,
  machine: { cores: 2, cpu: 'test', memoryGiB: 4, system: 'Linux' },
  versions: { rollcall: '0.1.0' },
  workers: 2,
  lagLimitMs: 20,
  hosts: [
    {
      name: 'hall-<2>',
      address: '192.0.2.7',
      cores: 4,
      workers: 2,
      devices: 40,
      sourceAddresses: 1,
      clockOffsetMs: 125.5,
      clockErrorMs: 0.25,
    },
  ],
  values: {
    'devices.total': 40,
    'messages.sent': 200,
    'messages.acknowledged': 180,
    'puback.p99': 32.125,
    'lost.journal': 0,
    'simulator.lagP99': 17.5,
  },
  latencies: { puback: { count: 180, p50: 3, p90: 8, p99: 32.125, p999: 33, max: 33 } },
  errors: { ECONNRESET: 4 },
  reasons: { puback_quota_exceeded: 3, disconnect_session_taken_over: 1 },
  timeline: Array.from({ length: 20 }, (_, at) => point(at)),
  marks: [{ at: 5, for: 3, text: 'cut 4 of <sensors>' }],
  assertions: [
    { text: 'lost.journal == 0', holds: true, found: 0 },
    { text: 'puback.p99 < 10ms', holds: false, found: 32.125 },
    { text: 'revocation.max < 1s', holds: false, reason: 'revocation.max was not measured' },
  ],
  problems: ['the simulator was the bottleneck'],
  verdict: 'failed',
};

const snapshot: RunSnapshot = {
  ...point(4),
  devices: 40,
  inFleet: 8,
  refused: 0,
  connectionRefused: 1,
  unacknowledged: 3,
  totals: { ...zeroCounters(), sent: 44, acknowledged: 41 },
  errorsByCause: { ECONNRESET: 4 },
  reasons: { puback_quota_exceeded: 3, disconnect_session_taken_over: 1 },
};

describe('a run as JUnit', () => {
  it('has a case for each assertion and one for the run itself', () => {
    const xml = junitReport(result);
    expect(xml).toContain('<testsuites tests="4" failures="3">');
    expect(xml).toContain('name="puback.p99 &lt; 10ms"><failure message="found 32.125">');
    expect(xml).toContain('<failure message="the simulator was the bottleneck">');
  });

  it("carries what was measured, the simulator's own delay and its limit too", () => {
    const xml = junitReport(result);
    expect(xml).toContain('<property name="simulator.lagP99" value="17.5"/>');
    expect(xml).toContain('<property name="limits.lag" value="20"/>');
    expect(xml).toContain('<property name="puback.p99" value="32.125"/>');
  });
});

describe('a run as lines', () => {
  it('says in one line how it goes, and at the end what holds', () => {
    expect(secondLine(snapshot)).toBe(
      '4 s: 8 of 40 connected, 9 messages/s, PUBACK p50 3.0 ms p99 16.0 ms, 3 unacknowledged, 0 errors; reason codes puback_quota_exceeded 3, disconnect_session_taken_over 1',
    );
    expect(liveScreen('storm', 20, snapshot).join('\n')).toMatch(/\[######\.{24}\] 4 of 20 s[\s\S]*ECONNRESET 4/);
    expect(verdictLines(result)).toMatch(/^ok {4}lost.journal == 0: 0\nFAIL {2}puback.p99 < 10ms: 32.1 ms\n/);
  });
});

describe('reason codes of the broker', () => {
  it('are in the live view, the last lines, the page and the metrics, by packet and name', () => {
    expect(liveScreen('storm', 20, snapshot)).toContain(
      'reasons   puback_quota_exceeded 3, disconnect_session_taken_over 1',
    );
    expect(verdictLines(result)).toContain('reason codes: puback_quota_exceeded 3, disconnect_session_taken_over 1');
    expect(htmlReport(result)).toContain('<td>PUBACK</td><td><code>quota_exceeded</code></td><td class="n">3</td>');
    expect(prometheusText(snapshot)).toContain(
      'rollcall_simulator_reason_codes_total{packet="disconnect",reason="session_taken_over"} 1\n',
    );
  });

  it('are none in a result of an earlier version', () => {
    const { reasons: _, ...earlier } = result;
    expect(resultSchema.parse(earlier).reasons).toEqual({});
  });
});

describe('a run on several hosts', () => {
  it('says where devices lived, and what their clocks mean for latencies', () => {
    expect(verdictLines(result)).toContain('host hall-<2>: 40 devices in 2 threads, clock 125.50 ms ahead (± 0.25 ms)');
    const html = htmlReport(result);
    expect(html).toContain('<td>hall-&lt;2&gt;</td><td>192.0.2.7</td>');
    expect(html).toContain('<td class="n">125.50 ms</td><td class="n">± 0.25 ms</td>');
  });

  it("says the simulator's own delay and how much of it the scenario allows", () => {
    expect(verdictLines(result)).toContain('own delay p99 17.5 ms of 20 ms');
    expect(htmlReport(result)).toContain('own delay of the simulator, p99; 20 ms allowed');
  });
});

describe('a run for Prometheus', () => {
  it('is told on loopback', async () => {
    const server = await servePrometheus(0, () => prometheusText(snapshot));
    onTestFinished(() => server.close());
    const text = await new Promise<string>((resolve, reject) => {
      get({ host: '127.0.0.1', port: server.port, path: '/metrics' }, (response) => {
        let body = '';
        response.on('data', (chunk) => {
          body += chunk;
        });
        response.once('end', () => resolve(body));
      }).once('error', reject);
    });
    expect(text).toContain('rollcall_simulator_messages_total{outcome="acknowledged"} 41\n');
    expect(text).toContain('rollcall_simulator_latency_seconds{of="puback",quantile="0.99"} 0.016\n');
    expect(text).toContain('rollcall_simulator_errors_total{cause="ECONNRESET"} 4\n');
  });
});

describe('two runs', () => {
  const worse: RunResult = { ...result, values: { ...result.values, 'puback.p99': 64.25, 'lost.journal': 1 } };

  it('stand side by side', () => {
    expect(differences(result, worse).find(({ metric }) => metric === 'puback.p99')?.ratio).toBe(2);
    expect(differences(result, worse).find(({ metric }) => metric === 'lost.journal')?.ratio).toBeUndefined();
  });

  it.each([
    ['puback.p99 <= 200%', true],
    ['puback.p99 <= 199%', false],
    ['lost.journal <= 100%', false],
    ['messages.sent <= 100%', true],
    ['recovery.max <= 100%', false],
  ])('%s: %s', (text, holds) => {
    expect(evaluateGate(parseGate(text) as Gate, result, worse).holds).toBe(holds);
  });

  it('of an earlier version are compared by the present name of a metric', () => {
    const earlier = resultSchema.parse({ ...result, values: { ...result.values, 'devices.cutOff': 4 } });
    const later: RunResult = { ...result, values: { ...result.values, 'devices.connectionRefused': 4 } };
    expect(differences(earlier, later).find(({ metric }) => metric === 'devices.connectionRefused')?.ratio).toBe(1);
    expect(evaluateGate(parseGate('devices.cutOff <= 100%') as Gate, earlier, later).holds).toBe(true);
  });

  it('have gates of one form', () => {
    expect(parseGate('puback.p99 < 3')).toMatch(/^expected METRIC <= PERCENT%/);
    expect(parseGate('mail.p99 <= 3%')).toMatch(/^expected a metric/);
  });
});

describe('the report', () => {
  const html = htmlReport(result);

  it('is one file that asks nobody for anything', () => {
    expect(html).not.toMatch(/<script|<link|src=|url\(|https?:\/\//);
  });

  it('shows what the scenario says as text, never as markup', () => {
    expect(html).toContain('&lt;b&gt;all&lt;/b&gt; &amp; &quot;everything&quot;');
    expect(html).toContain('cut 4 of &lt;sensors&gt;');
    expect(html).not.toContain('<sensors>');
  });
});

describeWithClients('the report in a browser', ['chromium'], () => {
  it('is drawn: verdict, charts, and marks in them', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'rollcall-report-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    writeFileSync(join(directory, 'report.html'), htmlReport(result));
    const shot = join(directory, 'report.png');
    const draw = (profile: string) => {
      const flags = [
        ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
        ...['--disable-background-networking', '--disable-component-update', '--hide-scrollbars'],
        ...[`--user-data-dir=${join(directory, profile)}`, '--window-size=1000,1800', `--screenshot=${shot}`],
      ];
      const page = `file://${directory}/report.html`;
      return runClient('chromium', [...flags, page], { directory });
    };
    // A browser takes a second, but now and then one hangs; how it starts is its own affair, what it draws is ours.
    const drawn = await draw('profile').catch(() => draw('another-profile'));
    expect(drawn.status).toBe(0);
    const png = readFileSync(shot);
    expect([png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual([1_000, 1_800]);
    expect(png.length).toBeGreaterThan(50_000); // an empty page of this size has 8 kB
  });
});
