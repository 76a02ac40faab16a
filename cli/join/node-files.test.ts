import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import type { JoinedFleet } from './join-fleet.ts';
import { prepareNode } from './node-files.ts';

it('a host that has joined and cannot write its files is told how to join again', () => {
  const data = join(temporaryDirectory(), 'b');
  const node = prepareNode(data);
  mkdirSync(join(data, 'rollcall.yaml'));
  const joined = {
    ...{ certificatePem: 'certificate', caPem: 'root', trustDomain: 'fleet', retentionAge: 0, authorityFiles: {} },
    store: { url: 'postgres://b@127.0.0.1/rollcall', schema: 'rollcall', standbys: 1, connections: 4 },
    ports: { enroll: 8443, mqtt: 8883, console: 8444 },
  } as unknown as JoinedFleet;
  const settings = {
    name: 'b',
    roles: ['mqtt'],
    enrollUrl: 'https://a:8443',
    host: undefined,
    publicHosts: [],
  } as const;
  const refusal = {
    code: 'usage',
    reason: expect.stringMatching(/rollcall\.yaml could not be written: (EEXIST|EISDIR)/),
    hint: expect.stringContaining('rollcall node remove b'),
  };
  expect(() => node.complete(joined, settings)).toThrow(expect.objectContaining(refusal));
});
