/** SDK devices after a network outage, which they wait out, and after a power loss, when they start from their disk. */

import { describe, expect, it, onTestFinished } from 'vitest';
import { createOperatorAccess, simulationTokens } from '../../cli/simulation-operator.ts';
import { localThreads, type RunResult, readScenario, runScenario } from '../../simulator/index.ts';
import { startFleet } from '../fixtures/fleet.ts';

const OUTAGE_MS = 2_000;
const PERIOD_MS = 100;

interface Said {
  readonly seq: number;
  readonly due: number;
}

/** Runs the incident on the only gateway; returns its stored messages in order of their numbers. */
async function play(timeline: string): Promise<{ readonly result: RunResult; readonly said: readonly Said[] }> {
  const fleet = await startFleet();
  onTestFinished(() => fleet.stop());
  const read = readScenario(
    `
name: gateways
duration: 9s
settle: 15s
limits: { lag: 60s }
devices:
  gateways:
    count: 1
    kind: sdk
    arrive: { curve: constant, over: 0s }
    publish: [{ stream: load, every: ${PERIOD_MS}ms }]
timeline:
${timeline}
`,
    { fileExists: () => false },
  );
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  const operator = createOperatorAccess(fleet.operator, simulationTokens(fleet.operator, { run: 'test' }));
  const result = await runScenario({
    ...{ scenario: read.scenario, recordings: new Map(), prefix: 'gate', versions: {}, operator },
    placement: localThreads({ workers: 1 }),
  });
  let text = '';
  for await (const chunk of operator.exportTelemetry(new Date(0))) text += chunk;
  const said = text
    .trim()
    .split('\n')
    .map((line) => (JSON.parse(line) as { readonly payload: Said }).payload)
    .sort((a, b) => a.seq - b.seq);
  return { result, said };
}

function longestPause(said: readonly Said[]): number {
  return Math.max(...said.slice(1).map(({ due }, at) => due - (said[at] as Said).due));
}

function numbers(said: readonly Said[]): readonly number[] {
  return said.map(({ seq }) => seq);
}

describe('a device of the SDK', { timeout: 180_000 }, () => {
  it('continues to publish during a network outage, and every message arrives when the network is back', async () => {
    const { result, said } = await play(`  - { at: 4s, cut: 1, for: ${OUTAGE_MS}ms }`);
    expect(result.problems).toEqual([]);
    expect(result.values).toMatchObject({
      'devices.enrolled': 1,
      'messages.dropped': 0,
      'messages.unacknowledged': 0,
      'lost.journal': 0,
    });
    expect(result.values['messages.acknowledged']).toBe(result.values['messages.sent']);
    expect(numbers(said)).toEqual(said.map((_, at) => at + 1));
    expect(result.latencies.recovery?.count).toBe(1);
  });

  it('that loses power publishes nothing until it restarts, with the same identity', async () => {
    const { result, said } = await play(`  - { at: 4s, power: 1, for: ${OUTAGE_MS}ms }`);
    expect(result.problems).toEqual([]);
    expect(result.values).toMatchObject({
      'devices.enrolled': 1,
      'devices.connected': 1,
      'lost.journal': 0,
      'tokens.used': 1,
    });
    expect(longestPause(said)).toBeGreaterThanOrEqual(OUTAGE_MS - PERIOD_MS);
    expect(result.latencies.recovery?.count).toBe(1);
  });

  it('that loses power during a network outage sends its queue from disk when it restarts', async () => {
    const { result, said } = await play(
      `  - { at: 4s, cut: 1, for: ${OUTAGE_MS}ms }\n  - { at: 5500ms, power: 1, for: ${OUTAGE_MS}ms }`,
    );
    expect(result.problems).toEqual([]);
    expect(longestPause(said)).toBeGreaterThanOrEqual(OUTAGE_MS - PERIOD_MS);
    // Between outage and power loss no message reached the broker; only the queue on disk can deliver it.
    const silence = said.findIndex(
      ({ due }, at) => at > 0 && due - (said[at - 1] as Said).due >= OUTAGE_MS - PERIOD_MS,
    );
    const cutAt = Date.parse(result.startedAt) + 4_000;
    const kept = said.slice(0, silence).filter(({ due }) => due > cutAt + 500);
    expect(kept.length).toBeGreaterThan(0);
    expect(result.values['messages.acknowledged']).toBeLessThan(said.length);
  });
});
