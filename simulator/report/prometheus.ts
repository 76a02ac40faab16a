/** A running simulation in the text format of Prometheus, and the little server that hands it out. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { escapeControls } from '@rollcall/output';
import type { RunSnapshot } from '../run/record.ts';

export function prometheusText(snapshot: RunSnapshot | undefined): string {
  if (snapshot === undefined) return '# the run has not begun\n';
  const { totals, errorsByCause, reasons } = snapshot;
  const lines: string[] = [];
  const metric = (
    name: string,
    type: 'gauge' | 'counter',
    help: string,
    samples: readonly (readonly [string, number])[],
  ) => {
    lines.push(`# HELP rollcall_simulator_${name} ${help}`, `# TYPE rollcall_simulator_${name} ${type}`);
    for (const [labels, value] of samples) lines.push(`rollcall_simulator_${name}${labels} ${value}`);
  };
  metric('devices', 'gauge', 'Devices by what they are.', [
    ['{state="connected"}', snapshot.connected],
    ['{state="in_fleet"}', snapshot.inFleet],
    ['{state="refused"}', snapshot.refused],
    ['{state="connection_refused"}', snapshot.connectionRefused],
  ]);
  metric('messages_total', 'counter', 'Messages by what became of them.', [
    ['{outcome="sent"}', totals.sent],
    ['{outcome="acknowledged"}', totals.acknowledged],
    ['{outcome="received"}', totals.received],
    ['{outcome="rejected"}', totals.rejected],
    ['{outcome="dropped"}', totals.dropped],
  ]);
  metric('unacknowledged', 'gauge', 'Messages of QoS 1 that wait for their acknowledgement.', [
    ['', snapshot.unacknowledged],
  ]);
  metric('connects_total', 'counter', 'Connections that the broker accepted.', [['', totals.connects]]);
  metric('wrong_acts_total', 'counter', 'Acts that were judged wrongly.', [
    ['{judgement="allowed"}', totals.wronglyAllowed],
    ['{judgement="refused"}', totals.wronglyRefused],
  ]);
  metric(
    'errors_total',
    'counter',
    'Errors by cause.',
    Object.entries(errorsByCause).map(([cause, count]) => [`{cause="${escapeControls(cause)}"}`, count] as const),
  );
  metric(
    'reason_codes_total',
    'counter',
    'Reason codes of the broker other than success.',
    Object.entries(reasons).map(([key, count]) => {
      const at = key.indexOf('_');
      return [`{packet="${key.slice(0, at)}",reason="${escapeControls(key.slice(at + 1))}"}`, count] as const;
    }),
  );
  const latencies = [
    ['puback', '0.5', snapshot.pubackP50],
    ['puback', '0.99', snapshot.pubackP99],
    ['service', '0.99', snapshot.serviceP99],
    ['own_delay', '0.99', snapshot.lagP99],
  ] as const;
  metric(
    'latency_seconds',
    'gauge',
    'Latencies of the last second, from the intended time.',
    latencies.flatMap(([name, quantile, value]) =>
      value === undefined ? [] : [[`{of="${name}",quantile="${quantile}"}`, value / 1_000] as const],
    ),
  );
  return `${lines.join('\n')}\n`;
}

export interface PrometheusServer {
  readonly port: number;
  close(): void;
}

/** Listens on loopback only. Port 0 picks a free one. */
export function servePrometheus(port: number, text: () => string): Promise<PrometheusServer> {
  const server = createServer((request, response) => {
    if (request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text());
  });
  server.unref();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      resolve({ port: (server.address() as AddressInfo).port, close: () => server.close() });
    });
  });
}
