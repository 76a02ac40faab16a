/** The same scenario and seed on one host and on three have the same devices, names and payload sequences. */

import { describe, expect, it, onTestFinished } from 'vitest';
import { createOperatorAccess, simulationTokens } from '../../cli/simulation-operator.ts';
import { Coordinator, joinRun, readScenario, runScenario } from '../../simulator/index.ts';
import { startFleet } from '../fixtures/fleet.ts';

const SCENARIO = `
name: same
seed: 42
duration: 3s
settle: 10s
limits: { lag: 60s }
devices:
  sensors:
    count: 7
    arrive: { curve: burst, size: 7, every: 1s }
    publish:
      - { stream: heat, every: 300ms, model: { kind: walk, step: 1 } }
      - { stream: load, every: 200ms, spacing: poisson, model: { kind: walk, start: 100, step: 3 } }
expect: [lost.journal == 0, lost.service == 0, devices.enrolled == 100%]
`;

/** The payloads of each stream of each device, in order. */
async function play(hosts: number): Promise<ReadonlyMap<string, readonly number[]>> {
  const fleet = await startFleet({ settings: [[['mqtt', 'limits', 'handshakesPerAddress'], 0]] });
  onTestFinished(() => fleet.stop());
  const read = readScenario(SCENARIO, { fileExists: () => false });
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  const place = { host: '127.0.0.1', version: 'test' };
  const coordinator = await Coordinator.listen({ ...place, port: 0, hosts, now: Date.now });
  const { port, fingerprint, secret } = coordinator;
  const joined = Array.from({ length: hosts }, (_, at) =>
    joinRun({ ...place, port, fingerprint, secret, name: `hall-${at}`, workers: 1 }),
  );
  await Promise.race([coordinator.waitForHosts(60_000), ...joined]);
  const operator = createOperatorAccess(fleet.operator, simulationTokens(fleet.operator, { run: 'test' }));
  const result = await runScenario({
    ...{ scenario: read.scenario, recordings: new Map(), prefix: 'same', versions: {}, operator },
    placement: coordinator.placement,
  });
  await coordinator.close(result.verdict);
  expect(await Promise.all(joined)).toEqual(joined.map(() => 'passed'));
  expect(result).toMatchObject({ problems: [], workers: hosts, verdict: 'passed' });

  const said = new Map<string, Map<number, number>>();
  let text = '';
  for await (const chunk of operator.exportTelemetry(new Date(0))) text += chunk;
  for (const line of text.trim().split('\n')) {
    const { device, stream, payload } = JSON.parse(line) as {
      readonly device: string;
      readonly stream: string;
      readonly payload: { readonly seq: number; readonly value: number };
    };
    const key = `${device} ${stream}`;
    said.set(key, (said.get(key) ?? new Map<number, number>()).set(payload.seq, payload.value));
  }
  return new Map(
    [...said].map(([key, values]) => [key, [...values].sort(([a], [b]) => a - b).map(([, value]) => value)]),
  );
}

describe('a run on one host and on three', () => {
  it('has the same devices with the same payloads', { timeout: 180_000 }, async () => {
    const [one, three] = [await play(1), await play(3)];
    expect(one.size).toBe(14);
    expect([...three.keys()].sort()).toEqual([...one.keys()].sort());
    for (const [key, values] of one) {
      const others = three.get(key) ?? [];
      const both = Math.min(values.length, others.length); // the runs may differ in length
      expect(both, key).toBeGreaterThan(0);
      expect(others.slice(0, both), key).toEqual(values.slice(0, both));
    }
  });
});
