import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { scenarioJsonSchema } from './json-schema.ts';
import { describeFlaw, readScenario } from './read.ts';

const exists = { fileExists: (path: string) => path === 'room.csv' };

const GOOD = `name: press-hall
duration: 60s
devices:
  sensors:
    count: 100
    arrive: { curve: ramp, over: 10s }
    publish:
      - { stream: temperature, every: 10s, model: { kind: sine, middle: 21 } }
timeline:
  - { at: 20s, revoke: 10%, of: sensors }
expect:
  - lost.journal == 0
`;

function flawsOf(text: string): readonly string[] {
  const read = readScenario(text, exists);
  return 'flaws' in read ? read.flaws.map((flaw) => describeFlaw('hall.yaml', flaw)) : [];
}

describe('a scenario', () => {
  it('is read with units, defaults and shares', () => {
    const read = readScenario(GOOD, exists);
    expect(read).toMatchObject({
      scenario: {
        seed: 1,
        duration: 60_000,
        settle: 5_000,
        devices: {
          sensors: {
            kind: 'light',
            group: 'default',
            arrive: { curve: 'ramp', over: 10_000 },
            publish: [{ every: 10_000, qos: 1, model: { kind: 'sine', middle: 21, amplitude: 5, period: 60_000 } }],
          },
        },
        timeline: [{ at: 20_000, revoke: { percent: 10 } }],
      },
    });
  });
});

describe('the version of MQTT of a group', () => {
  const share5 = (mqtt: string) => {
    const read = readScenario(GOOD.replace('count: 100', `count: 100\n    mqtt: ${mqtt}`), exists);
    return 'scenario' in read ? read.scenario.devices.sensors?.mqtt : read.flaws.map(({ message }) => message);
  };

  it.each([
    ['5', 1],
    ['"5"', 1],
    ['3.1.1', 0],
    ['{ 5: 70%, 3.1.1: 30% }', 0.7],
    ['{ 5: 0.7, 3.1.1: 0.3 }', 0.7],
  ])('%s is read as a share of MQTT 5', (mqtt, share) => {
    expect(share5(mqtt)).toBeCloseTo(share as number, 9);
  });

  it.each([
    ['4', /^expected 5, 3\.1\.1, or the shares of both/],
    ['{ 5: 70%, 3.1.1: 20% }', /^expected shares of 5 and 3\.1\.1 that add up to 100%/],
    ['{ 5: 70%, 3.1: 30% }', /^expected 5, 3\.1\.1, or the shares of both/],
    ['{ 5: all, 3.1.1: none }', /^expected 5, 3\.1\.1, or the shares of both|^expected a share such as 70%/],
  ])('%s is refused', (mqtt, message) => {
    expect(share5(mqtt)).toEqual(expect.arrayContaining([expect.stringMatching(message)]));
  });

  it('is what the device itself chooses where the scenario says none', () => {
    const read = readScenario(GOOD, exists);
    expect('scenario' in read && read.scenario.devices.sensors?.mqtt).toBeUndefined();
  });
});

/** Each with the one line that is wrong, what stands there instead, and what is said. */
describe('a scenario that is wrong is refused with its line and what was expected', () => {
  it.each([
    [
      'an unknown key',
      'count: 100',
      'cuont: 100',
      /^hall.yaml:5:5: devices.sensors.cuont: expected a known key, found "cuont"; did you mean "count"\?/,
    ],
    [
      'a negative rate',
      'every: 10s',
      'every: -10s',
      /^hall.yaml:8:\d+: .*every: expected a duration such as .*, found "-10s"/,
    ],
    ['a rate of zero', 'every: 10s', 'every: 0s', /^hall.yaml:8:.*longer than zero, found "0s"/],
    [
      'a number without a unit',
      'duration: 60s',
      'duration: 60',
      /^hall.yaml:2:1: duration: expected a duration such as .*, found 60/,
    ],
    [
      'half a device',
      'count: 100',
      'count: 1.5',
      /^hall.yaml:5:5: .*expected a whole number of one or more, found 1.5/,
    ],
    ['a negative number', 'count: 100', 'count: -1', /^hall.yaml:5:5: .*one or more, found -1/],
    [
      'an incident after the end',
      'at: 20s',
      'at: 61s',
      /^hall.yaml:10:7: timeline\[0\].at: expected a time within the duration of 60 s/,
    ],
    [
      'an incident that ends after the end',
      'revoke: 10%',
      'cut: 10%, for: 1h',
      /^hall.yaml:10:\d+: timeline\[0\].for: expected it to be over/,
    ],
    ['no incident', 'revoke: 10%, ', '', /^hall.yaml:10:.*expected one incident of revoke, cut, .*found none/],
    ['two incidents', 'revoke: 10%', 'revoke: 10%, cut: 5%', /found revoke and cut/],
    [
      'a word of another incident',
      'revoke: 10%',
      'revoke: 10%, count: 4',
      /^hall.yaml:10:\d+: timeline\[0\].count: expected no "count" with "revoke"/,
    ],
    [
      'more than all',
      'revoke: 10%',
      'revoke: 101%',
      /expected a share such as 10%, or a number of devices, found "101%"/,
    ],
    [
      'a will on a stream that is published on',
      'count: 100',
      'count: 100\n    will: { stream: temperature }',
      /will.stream: expected a stream that the group does not publish on/,
    ],
    [
      'a will of the device SDK',
      'count: 100',
      'count: 100\n    kind: sdk\n    will: { stream: status }',
      /will: expected no "will": the device SDK has none/,
    ],
    [
      'an unknown group',
      'of: sensors',
      'of: senors',
      /^hall.yaml:10:\d+: timeline\[0\].of: expected one of the groups sensors, found "senors"/,
    ],
    ['an unknown curve', 'curve: ramp', 'curve: square', /^hall.yaml:6:\d+: .*expected a curve: constant, ramp/],
    [
      'an unknown model',
      'kind: sine, middle: 21',
      'kind: cosine',
      /^hall.yaml:8:\d+: .*expected a kind: constant, sine/,
    ],
    [
      'a missing recording',
      'kind: sine, middle: 21',
      'kind: replay, file: gone.csv, time: t, columns: { v: v }',
      /^hall.yaml:8:\d+: .*model.file: expected a recording that exists, found "gone.csv"/,
    ],
    [
      'a pace for a recording',
      'kind: sine, middle: 21',
      'kind: replay, file: room.csv, time: t, columns: { v: v }',
      /expected no "every"/,
    ],
    ['no pace', 'every: 10s, ', '', /^hall.yaml:8:9: .*expected "every"/],
    [
      'an unknown metric',
      'lost.journal == 0',
      'lost.mail == 0',
      /^hall.yaml:12:\d+: expect\[0\]: expected a metric, one of devices.total/,
    ],
    [
      'a latency without a unit',
      'lost.journal == 0',
      'puback.p99 < 5',
      /^hall.yaml:12:.*expected a duration such as 500ms, found "puback.p99 < 5"/,
    ],
    ['no comparison', 'lost.journal == 0', 'lost.journal', /expected METRIC ==/],
    ['a stranger QoS', 'every: 10s', 'every: 10s, qos: 2', /expected QoS 0 or 1, found 2/],
    [
      'a name that no group can have',
      'count: 100',
      'count: 100\n    group: a/b',
      /^hall.yaml:6:5: devices.sensors.group: expected one to 64 of/,
    ],
    ['a tab', '  sensors:', '\tsensors:', /^hall.yaml:4:\d+: expected YAML: /],
    [
      'a key twice',
      'count: 100',
      'count: 100\n    count: 5',
      /^hall.yaml:6:\d+: expected YAML: map keys must be unique/,
    ],
    ['no devices', /devices:[\s\S]*?timeline/, 'devices: {}\ntimeline', /^hall.yaml:3:1: devices: expected one group/],
    ['nothing at all', GOOD, '', /^hall.yaml:1:1: expected/],
    [
      'an SDK device that never reads',
      'count: 100',
      'count: 1\n    kind: sdk\n    reads: never',
      /^hall.yaml:7:5: .*expected "always"/,
    ],
    [
      'a state that leads nowhere',
      'kind: sine, middle: 21',
      'kind: states, initial: a, states: { a: { for: 1s, next: { b: 1 } } }',
      /next.b: expected one of the states a/,
    ],
  ])('%s', (_, right, wrong, said) => {
    const text = GOOD.replace(right, wrong);
    expect(text).not.toBe(GOOD);
    expect(flawsOf(text)).toContainEqual(expect.stringMatching(said));
  });

  it('with all of its flaws at once, in the order of its lines', () => {
    const text = GOOD.replace('count: 100', 'count: 0').replace('duration: 60s', 'duration: never');
    expect(flawsOf(text).map((flaw) => flaw.split(':')[1])).toEqual(['2', '5']);
  });
});

describe('a kind of device', () => {
  it.each([
    ['swarm', 'light'],
    ['"true"', 'sdk'],
    ['light', 'light'],
    ['sdk', 'sdk'],
  ])('written as %s is read as %s', (written, kind) => {
    const read = readScenario(GOOD.replace('count: 100', `count: 100\n    kind: ${written}`), {
      fileExists: () => true,
    });
    expect('scenario' in read && read.scenario.devices.sensors?.kind).toBe(kind);
  });
});

describe('the JSON Schema for editors', () => {
  it('is the one that the language makes', () => {
    const published = readFileSync(new URL('./scenario.schema.json', import.meta.url), 'utf8');
    expect(JSON.parse(published)).toEqual(JSON.parse(scenarioJsonSchema()));
  });
});
