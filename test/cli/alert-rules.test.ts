/** The alert rules that operators load into Prometheus: promtool accepts them, and they name metrics and kinds that exist. */

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { EXPIRING_KINDS } from '../../registry/index.ts';
import { METRICS } from '../../server/metric-definitions.ts';
import { clientCommand, installed } from '../fixtures/client-programs.ts';

const FOLDER = fileURLToPath(new URL('../../deploy/prometheus/', import.meta.url));
const RULES = readFileSync(`${FOLDER}rollcall-alerts.yml`, 'utf8');

describe('the alert rules', () => {
  it.skipIf(!installed('promtool')).each([
    ['check', 'rollcall-alerts.yml'],
    ['test', 'rollcall-alerts.test.yml'],
  ])('pass promtool %s rules', (verb, file) => {
    const [program = '', ...args] = clientCommand('promtool');
    const { status, stderr } = spawnSync(program, [...args, verb, 'rules', file], { cwd: FOLDER, encoding: 'utf8' });
    expect({ status, stderr: stderr.trim() }).toEqual({ status: 0, stderr: '' });
  });

  it('name only metrics and kinds that a server exports', () => {
    const expressions = RULES.split('\n').filter((line) => line.includes('expr:'));
    expect(expressions.length).toBeGreaterThan(0);
    const names = new Set<string>(Object.values(METRICS).flatMap((metrics) => metrics.map(({ name }) => name)));
    for (const [name] of expressions.join('\n').matchAll(/rollcall_[a-z_]+/g)) expect(names, name).toContain(name);
    const kinds = [...expressions.join('\n').matchAll(/kind=~?"([^"]+)"/g)].flatMap(([, list = '']) => list.split('|'));
    for (const kind of kinds) expect(EXPIRING_KINDS).toContain(kind);
    // Nobody renews a token, and an OCSP signer is made when a request needs it.
    const reported = [...new Set(kinds), 'token', 'ocsp-signer'].sort();
    expect(reported, 'every kind has an alert').toEqual([...EXPIRING_KINDS].sort());
  });
});
