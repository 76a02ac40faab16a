import { DEFAULT_DEVICE_POLICY, DEFAULT_SERVICE_POLICY } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { ruleInWords } from './rule-words.ts';

it.each([
  ['connect', '${device.id}', 'its device id'],
  ['connect', 'panel-*', 'ids that begin with panel-'],
  ['publish', 'devices/${device.id}/telemetry/+', 'its own telemetry'],
  ['publish', 'devices/+/telemetry/temperature', 'telemetry of every device, temperature alone'],
  ['subscribe', 'devices/${device.labels.gateway}/twin/desired', 'desired state of the device in its label gateway'],
  ['subscribe', 'devices/press-1/#', 'everything of press-1'],
  ['receive', 'groups/${device.group}/broadcast/+', 'broadcasts to its own group'],
  ['receive', '$fleet/trust-bundle', 'the trust bundle'],
  ['publish', 'plant/${device.labels.line}/+/#', 'plant / its label line / any level / anything below'],
] as const)('a rule of %s, %s, is told as "%s"', (verb, rule, words) => {
  expect(ruleInWords(verb, rule)).toBe(words);
});

it('no rule of a built-in policy is told by its levels', () => {
  for (const policy of [DEFAULT_DEVICE_POLICY, DEFAULT_SERVICE_POLICY]) {
    for (const verb of ['connect', 'publish', 'subscribe', 'receive', 'retain'] as const) {
      for (const rule of policy[verb]) expect(ruleInWords(verb, rule), rule).not.toMatch(/ \/ |any level|the id /);
    }
  }
});
