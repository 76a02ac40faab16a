/** The metrics of a whole server: each is defined, documented and exported with its type, and promtool accepts them. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { COMMIT_SECONDS, INFO, METRICS, TERMINATION_SECONDS } from '../../server/metric-definitions.ts';
import { clientCommand, installed } from '../fixtures/client-programs.ts';
import type { RunningServer } from '../fixtures/program.ts';
import { serveWithSink, useEverything } from '../fixtures/used-server.ts';

interface Documented {
  readonly name: string;
  readonly type: string;
  readonly label: string;
  readonly help: string;
}

const DEFINED: readonly Documented[] = [
  { name: INFO.name, type: 'gauge', label: INFO.labels.join(), help: INFO.help },
  ...[TERMINATION_SECONDS, COMMIT_SECONDS].map(({ name, help }) => ({ name, type: 'histogram', label: '', help })),
  ...Object.values(METRICS)
    .flat()
    .map(({ name, type, label = '', help }) => ({ name, type, label: [label].flat().join(), help })),
];

const byName = (one: { readonly name: string }, other: { readonly name: string }) =>
  one.name < other.name ? -1 : Number(one.name > other.name);

describe('the metrics of a server', () => {
  const data = mkdtempSync(join(tmpdir(), 'rollcall-metrics-'));
  let server: RunningServer;
  let text: string;

  beforeAll(async () => {
    server = await serveWithSink(data);
    await useEverything(server);
    const operator = openConsoleClient({ socketPath: server.ready.socket });
    // Counters that do not match their definitions are logged at the first scrape.
    await operator.metrics();
    text = await operator.metrics();
    await operator.close();
  });
  afterAll(async () => {
    await server.end('SIGTERM');
    rmSync(data, { recursive: true });
  });

  it('are exactly those that are defined, each with its type and help', () => {
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => ({
      name: name as string,
      type,
    }));
    const helps = [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name, help]) => ({ name: name as string, help }));
    expect(types.toSorted(byName)).toEqual(DEFINED.map(({ name, type }) => ({ name, type })).toSorted(byName));
    expect(helps.toSorted(byName)).toEqual(DEFINED.map(({ name, help }) => ({ name, help })).toSorted(byName));
  });

  it('match the counters of the modules, and every counter has a definition', () => {
    expect(server.log()).not.toContain('counters do not match their metric definitions');
  });

  it('have samples with their labels', () => {
    for (const sample of [
      'rollcall_connections_accepted_total 2',
      'rollcall_connections_refused_total{reason="revoked"} 1',
      'rollcall_disconnections_total{reason="session_taken_over"} 1',
      'rollcall_disconnections_total{reason="revoked"} 1',
      'rollcall_access_denied_total{action="subscribe"} 1',
      'rollcall_messages_received_total 1',
      'rollcall_telemetry_stored_total 1',
      'rollcall_telemetry_under_pressure 0',
      'rollcall_enrollments_total 1',
      'rollcall_enroll_refused_total{code="token_rejected"} 1',
      'rollcall_sink_up{sink="out"} 1',
      'rollcall_revocation_propagation_seconds_count 1',
      'rollcall_telemetry_commit_seconds_count 1',
      'rollcall_ready 1',
    ]) {
      expect(text).toContain(`${sample}\n`);
    }
    expect(text).toMatch(/^rollcall_telemetry_heaviest_device_bytes\{device="dev-1"\} \d+$/m);
    expect(text).toMatch(/^rollcall_info\{version="[^"]+",runtime="node [^"]+",node="main"\} 1$/m);
  });

  it('are listed in docs/metrics.md with the same help text', () => {
    const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
    const rows = [
      ...page.matchAll(/^\| `(rollcall_\w+)` \| (counter|gauge|histogram) \| ((?:`\w+`(?:, )?)*) ?\| (.+) \|$/gm),
    ];
    const documented = rows.map(([, name = '', type, labels = '', help]) => {
      return { name, type, label: labels.replaceAll('`', '').replaceAll(', ', ','), help };
    });
    expect(documented.toSorted(byName)).toEqual(
      DEFINED.map(({ name, type, label, help }) => ({ name, type, label, help })).toSorted(byName),
    );
  });

  it.skipIf(!installed('promtool'))('pass promtool check metrics', () => {
    const [program = '', ...args] = clientCommand('promtool');
    const { status, stdout, stderr } = spawnSync(program, [...args, 'check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});
