/** What Grafana expects of the file; test/clients/prometheus.test.ts evaluates its expressions. */

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMIT_SECONDS, INFO, METRICS, TERMINATION_SECONDS } from '../../server/metric-definitions.ts';

interface Panel {
  readonly id: number;
  readonly title: string;
  readonly type: 'row' | 'stat' | 'timeseries';
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly { readonly refId: string; readonly expr: string }[];
}

const TEXT = readFileSync(new URL('rollcall.json', import.meta.url), 'utf8');
const { panels } = JSON.parse(TEXT) as { readonly panels: readonly Panel[] };

describe('the Grafana dashboard', () => {
  it('names only metrics that a server exports', () => {
    const histograms = [TERMINATION_SECONDS, COMMIT_SECONDS].map(({ name }) => `${name}_bucket`);
    const plain = Object.values(METRICS).flatMap((metrics) => metrics.map(({ name }) => name as string));
    const exported = new Set([INFO.name, ...histograms, ...plain]);
    const named = [...TEXT.matchAll(/rollcall_\w+/g)].map(([name]) => name);
    expect(named.length).toBeGreaterThan(40);
    expect(named.filter((name) => !exported.has(name))).toEqual([]);
  });

  it('gives each panel an id of its own, a description and the data source that the reader chooses', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const shown = panels.filter(({ type }) => type !== 'row');
    expect(shown.filter(({ description }) => !description).map(({ title }) => title)).toEqual([]);
    expect(new Set(shown.map(({ datasource }) => datasource?.uid))).toEqual(new Set([`\${datasource}`]));
    for (const { targets = [] } of shown) {
      expect(new Set(targets.map(({ refId }) => refId)).size).toBe(targets.length);
    }
  });

  it('places no panel over another or beyond the 24 columns', () => {
    const taken = new Map<string, string>();
    for (const { title, gridPos } of panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(taken.get(`${x},${y}`), title).toBeUndefined();
          taken.set(`${x},${y}`, title);
        }
      }
    }
  });
});
