import { DEFAULT_DEVICE_POLICY, type PolicyDocument } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { policyFaults } from './policy-faults.ts';

it('every rule of a policy that cannot be applied is named, with its place and what was expected', () => {
  const document = {
    ...DEFAULT_DEVICE_POLICY,
    connect: ['${device.id}', 'no spaces'],
    publish: ['a/#/b', 'a/+', '${device.name}', '$fleet/events/x'],
    retain: 'none',
  } as unknown as PolicyDocument;
  expect([...policyFaults(document)].map(({ verb, index, fault }) => [verb, index, fault])).toEqual([
    ['connect', 1, expect.stringContaining('expected a client id')],
    ['publish', 0, expect.stringContaining('expected a topic filter')],
    ['publish', 2, expect.stringContaining('expected a variable')],
    ['publish', 3, expect.stringContaining('written by the server alone')],
    ['retain', undefined, 'expected a list'],
  ]);
  expect([...policyFaults(DEFAULT_DEVICE_POLICY)]).toEqual([]);
});
