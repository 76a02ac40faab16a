/** The alert rules that operators load into Prometheus: promtool accepts them, and they name metrics and kinds that exist. */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { EXPIRING_KINDS } from '../../registry/index.ts';
import { COMMIT_SECONDS, METRICS, TERMINATION_SECONDS } from '../../server/metric-definitions.ts';
import { clientCommand, installed } from '../fixtures/client-programs.ts';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
}

interface RuleTest {
  readonly alert_rule_test: readonly { readonly alertname: string; readonly exp_alerts: readonly unknown[] }[];
}

const FOLDER = fileURLToPath(new URL('../../deploy/prometheus/', import.meta.url));
const TESTS = ['rollcall-alerts.test.yml', 'rollcall-alerts-minutes.test.yml'];
const inFolder = (file: string) => parse(readFileSync(`${FOLDER}${file}`, 'utf8')) as unknown;
const { groups } = inFolder('rollcall-alerts.yml') as {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
};
const RULES = groups.flatMap(({ rules }) => rules);
const EXPRESSIONS = RULES.map(({ expr }) => expr).join('\n');

describe('the alert rules', () => {
  it.skipIf(!installed('promtool')).each([
    ['check', ['rollcall-alerts.yml']],
    ['test', TESTS],
  ] as const)('pass promtool %s rules', (verb, files) => {
    const [program = '', ...args] = clientCommand('promtool');
    const { status, stderr } = spawnSync(program, [...args, verb, 'rules', ...files], {
      cwd: FOLDER,
      encoding: 'utf8',
    });
    expect({ status, stderr: stderr.trim() }).toEqual({ status: 0, stderr: '' });
  });

  it('name only metrics and kinds that a server exports', () => {
    const histograms = [TERMINATION_SECONDS, COMMIT_SECONDS].map(({ name }) => `${name}_bucket`);
    const names = new Set<string>([
      ...Object.values(METRICS).flatMap((of) => of.map(({ name }) => name)),
      ...histograms,
    ]);
    for (const [name] of EXPRESSIONS.matchAll(/rollcall_[a-z_0-9]+/g)) expect(names, name).toContain(name);
    const kinds = [...EXPRESSIONS.matchAll(/kind=~?"([^"]+)"/g)].flatMap(([, list = '']) => list.split('|'));
    for (const kind of kinds) expect(EXPIRING_KINDS).toContain(kind);
    // Nobody renews a token, and an OCSP signer is made when a request needs it.
    const reported = [...new Set(kinds), 'token', 'ocsp-signer'].sort();
    expect(reported, 'every kind has an alert').toEqual([...EXPIRING_KINDS].sort());
  });

  it('each fire in a test of promtool', () => {
    const tested = TESTS.flatMap((file) => (inFolder(file) as { readonly tests: readonly RuleTest[] }).tests)
      .flatMap(({ alert_rule_test }) => alert_rule_test)
      .filter(({ exp_alerts }) => exp_alerts.length > 0);
    const fired = new Set(tested.map(({ alertname }) => alertname));
    expect(RULES.map(({ alert }) => alert).filter((alert) => !fired.has(alert))).toEqual([]);
  });

  it('are listed in docs/metrics.md with their severity', () => {
    const page = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
    const rows = [...page.matchAll(/^\| `(Rollcall\w+)` \| (\w+) \|/gm)].map(
      ([, alert, severity]) => `${alert} ${severity}`,
    );
    expect(rows.sort()).toEqual(RULES.map(({ alert, labels }) => `${alert} ${labels.severity}`).sort());
  });
});
