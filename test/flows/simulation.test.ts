import { afterEach, describe, expect, it } from 'vitest';
import { createOperatorAccess, simulationTokens } from '../../cli/simulation-operator.ts';
import { localThreads, RunRefused, readScenario, runScenario, type Scenario } from '../../simulator/index.ts';
import type { RunOptions } from '../../simulator/run/run-options.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function server(): Promise<TestFleet> {
  const fleet = await startFleet({ settings: [[['mqtt', 'limits', 'handshakesPerAddress'], 0]] });
  cleanups.push(() => fleet.stop());
  return fleet;
}

function scenario(text: string): Scenario {
  const read = readScenario(`name: test\n${text}`, { fileExists: () => true });
  if ('flaws' in read) throw new Error(JSON.stringify(read.flaws));
  return read.scenario;
}

async function run(text: string, options: Partial<RunOptions> = {}) {
  const fleet = await server();
  return runScenario({
    scenario: scenario(text),
    recordings: new Map(),
    operator: createOperatorAccess(fleet.operator, simulationTokens(fleet.operator, { run: 'test' })),
    prefix: 'test',
    placement: localThreads({ workers: 2 }),
    versions: {},
    ...options,
  });
}

interface ExportedMessage {
  readonly device: string;
  readonly userProperties?: unknown;
}

async function exported(fleet: TestFleet): Promise<readonly ExportedMessage[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of createOperatorAccess(
    fleet.operator,
    simulationTokens(fleet.operator, { run: 'test' }),
  ).exportTelemetry(new Date(0)))
    chunks.push(chunk);
  const lines = Buffer.concat(chunks).toString().split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as ExportedMessage);
}

describe('a fleet of light devices', () => {
  it('passes commands, network outages, power loss, renewal and revocation, and every acknowledged message is stored and delivered', async () => {
    const result = await run(`
duration: 7s
settle: 4s
limits: { lag: 5s }
devices:
  sensors:
    count: 12
    arrive: { curve: constant, over: 1s }
    commands: { reboot: { answer: done } }
    publish: [{ stream: temperature, every: 200ms, size: 200B }]
  sdk:
    count: 2
    kind: sdk
    arrive: { curve: constant, over: 0s }
    publish: [{ stream: temperature, every: 500ms }]
timeline:
  - { at: 3s, cut: 2, of: sensors, for: 1s }
  - { at: 3s, power: 2, of: sensors, for: 1s }
  - { at: 3500ms, renew: 3, of: sensors }
  - { at: 4s, command: reboot, of: sensors, to: 50% }
  - { at: 5s, steal: 2, of: sensors }
  - { at: 5s, clone: 1, of: sensors }
  - { at: 5500ms, revoke: 3, of: sensors }
expect:
  - devices.enrolled == 100%
  - lost.journal == 0
  - lost.service == 0
  - messages.acknowledged > 100
  - devices.connectionRefused == 3
  - devices.renewed == 3
  - acts.hostile == 3
  - acts.wronglyAllowed == 0
  - acts.wronglyRefused == 0
  - tokens.overspent == 0
  - tokens.used == 14
  - commands.answered >= 1
  - revocation.max < 5s
`);
    expect({
      problems: result.problems,
      failed: result.assertions.filter(({ holds }) => !holds),
      errors: result.errors,
    }).toEqual({
      problems: [],
      failed: [],
      errors: result.errors,
    });
    expect(result.verdict).toBe('passed');
    expect(result.timeline.length).toBeGreaterThan(5);
    expect(result.marks.map(({ text }) => text)).toContain('revoke 3 of sensors');
  });
});

describe('a fleet of devices with both versions of MQTT', () => {
  it('stores the user properties of those with MQTT 5, and counts connections by version', async () => {
    const fleet = await server();
    const stream = '{ stream: temperature, every: 300ms, userProperties: { site: hall 3, line: seven } }';
    const mixed = (kind: string) =>
      `{ kind: ${kind}, count: 2, mqtt: { 5: 50%, 3.1.1: 50% }, arrive: { curve: constant, over: 0s }, publish: [${stream}] }`;
    const result = await run(
      `
duration: 3s
settle: 4s
limits: { lag: 5s }
devices:
  sensors: ${mixed('light')}
  gateways: ${mixed('sdk')}
expect: [connects.mqtt5 == 2, connects.mqtt311 == 2, lost.journal == 0, lost.service == 0]
`,
      { operator: createOperatorAccess(fleet.operator, simulationTokens(fleet.operator, { run: 'test' })) },
    );
    expect(result.problems).toEqual([]);
    expect(result.assertions.filter(({ holds }) => !holds)).toEqual([]);
    const properties = new Map<string, unknown>();
    for (const message of await exported(fleet)) {
      const { device, userProperties } = message;
      if (properties.has(device)) expect(userProperties).toEqual(properties.get(device));
      properties.set(device, userProperties);
    }
    const given = [
      { name: 'site', value: 'hall 3' },
      { name: 'line', value: 'seven' },
    ];
    for (const group of ['sensors', 'gateways']) {
      const found = [...properties].filter(([device]) => device.includes(group)).map(([, value]) => value);
      expect(found).toHaveLength(2);
      expect(found).toEqual(expect.arrayContaining([given, undefined]));
    }
  });
});

describe('a run whose assertions do not hold', () => {
  it('fails, and reports the values that it found', async () => {
    const result = await run(`
duration: 1500ms
settle: 2s
limits: { lag: 5s }
devices: { sensors: { count: 1, arrive: { curve: constant, over: 0s }, publish: [{ stream: t, every: 300ms }] } }
expect: [messages.acknowledged == 0, devices.connected == 1]
`);
    expect(result.verdict).toBe('failed');
    expect(result.assertions).toEqual([
      { text: 'messages.acknowledged == 0', holds: false, found: result.values['messages.acknowledged'] },
      { text: 'devices.connected == 1', holds: true, found: 1 },
    ]);
  });
});

describe('a run in which the simulator itself was too slow', () => {
  it('fails with that cause, even if its assertions hold', async () => {
    const result = await run(`
duration: 1s
settle: 1s
limits: { lag: 0.001ms }
devices: { sensors: { count: 1, arrive: { curve: constant, over: 0s }, publish: [{ stream: t, every: 100ms }] } }
expect: [lost.journal == 0]
`);
    expect(result.assertions.every(({ holds }) => holds)).toBe(true);
    expect(result.problems).toEqual([expect.stringContaining('the simulator was the bottleneck')]);
    expect(result.verdict).toBe('failed');
  });
});

describe('an incident that cannot happen', () => {
  it.each([
    ['server: kill', 'expected a server of its own'],
    ['outlive: 1', 'expected certificates that end within the run'],
  ])('%s', async (incident, said) => {
    const result = await run(`
duration: 2s
settle: 1s
limits: { lag: 5s }
devices: { sensors: { count: 1, arrive: { curve: constant, over: 0s } } }
timeline: [{ at: 1s, ${incident} }]
`);
    expect(result.problems).toEqual([expect.stringContaining(said)]);
    expect(result.verdict).toBe('failed');
  });
});

describe('a run that cannot begin', () => {
  it('reports what it needs', async () => {
    const options = {
      scenario: scenario('duration: 1s\ndevices: { a: { count: 1 } }'),
      recordings: new Map(),
      prefix: 'a',
      versions: {},
    };
    await expect(runScenario(options)).rejects.toThrow(RunRefused);
    await expect(runScenario(options)).rejects.toThrow('expected a server that enrolls devices');
  });
});
