/** A real Prometheus scrapes a server with the configuration of docs/metrics.md, and evaluates the rules and the dashboard. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RunningServer } from '../fixtures/program.ts';
import { type PrometheusServer, startPrometheus } from '../fixtures/prometheus.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { serveWithSink, useEverything } from '../fixtures/used-server.ts';

interface Panel {
  readonly title: string;
  readonly type: string;
  readonly targets?: readonly { readonly expr: string }[];
}

interface Dashboard {
  readonly panels: readonly Panel[];
  readonly annotations: { readonly list: readonly { readonly expr: string }[] };
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DASHBOARD = JSON.parse(readFileSync(join(ROOT, 'deploy/grafana/rollcall.json'), 'utf8')) as Dashboard;
const POLL = { interval: 200 };

describeWithClients('Prometheus', ['prometheus'], () => {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-prometheus-'));
  const data = join(directory, 'fleet');
  let server: RunningServer;
  let prometheus: PrometheusServer;

  beforeAll(async () => {
    server = await serveWithSink(directory);
    prometheus = await startPrometheus(directory, configurationOfThePage());
    await useEverything(server);
  });
  afterAll(async () => {
    await prometheus?.end();
    await server?.end('SIGTERM');
    rmSync(directory, { recursive: true });
  });

  /** The block of docs/metrics.md, with this server's address and files in place of the installed ones. */
  function configurationOfThePage(): string {
    const page = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8');
    const block = /```yaml\n(scrape_configs:[^`]+)```/.exec(page)?.[1] as string;
    const places = {
      '127.0.0.1:8444': new URL(server.ready.consoleUrl).host,
      '/etc/prometheus/rollcall-metrics.key': join(data, 'metrics.key'),
      '/etc/prometheus/rollcall-ca.pem': join(data, 'trust-bundle.pem'),
      '/etc/prometheus/rollcall-alerts.yml': join(ROOT, 'deploy/prometheus/rollcall-alerts.yml'),
    };
    let text = block;
    for (const [place, here] of Object.entries(places)) {
      expect(text).toContain(place);
      text = text.replace(place, here);
    }
    return `global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\n${text}`;
  }

  /** With the values that Grafana would use; the range holds all samples of this test. */
  const asGrafana = (expression: string) =>
    expression.replaceAll('$instance', '.*').replaceAll('$__rate_interval', '1m');

  it('scrapes the server with the metrics key, over TLS that it verifies', async () => {
    await expect.poll(() => prometheus.targets(), POLL).toMatchObject([{ health: 'up', lastError: '' }]);
    const [info] = await prometheus.query('rollcall_info');
    expect(info).toMatchObject({ metric: { job: 'rollcall' }, value: [expect.any(Number), '1'] });
    expect(server.log()).not.toContain('operator key refused');
  });

  it('loads the alert rules, of which none has an error', async () => {
    const isEvaluated = async () => {
      const rules = await prometheus.rules();
      return rules.length > 5 && rules.every(({ health }) => health === 'ok');
    };
    await expect.poll(isEvaluated, POLL).toBe(true);
  });

  it('finds data for every panel of the dashboard', async () => {
    const targets = DASHBOARD.panels.flatMap(({ title, targets: of = [] }) => of.map(({ expr }) => ({ title, expr })));
    expect(targets.length).toBeGreaterThan(40);
    expect(targets.filter(({ expr }) => !expr.includes('{instance=~"$instance"}'))).toEqual([]);
    const withoutData = async () => {
      const answers = await Promise.all(targets.map(({ expr }) => prometheus.query(asGrafana(expr))));
      return targets.filter((_, index) => answers[index]?.length === 0);
    };
    await expect.poll(withoutData, POLL).toEqual([]);
  });

  it('evaluates the annotations of the dashboard', async () => {
    for (const { expr } of DASHBOARD.annotations.list) expect(await prometheus.query(asGrafana(expr))).toEqual([]);
  });
});
