/** Both corpora against a real broker over mutual TLS, one connection each: of inputs that differ only in a number, some. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCorpus, runCorpus5, sample } from '../../test/fixtures/broker/corpus-run.ts';
import { buildCorpus5 } from '../../test/fixtures/broker/mqtt5-corpus/corpus.ts';
import { buildCorpus } from '../../test/fixtures/broker/packet-corpus.ts';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { device, service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { PROPERTY_LIMITS } from './codec/packet-limits.ts';

const EVERYTHING = ['#'];
const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };

let testBroker: TestBroker;
let bystander: RawClient;

beforeAll(async () => {
  const policy = { connect: ['*'], publish: EVERYTHING, subscribe: EVERYTHING, receive: [], retain: EVERYTHING };
  testBroker = await TestBroker.start({
    policies: { 'service/corpus': policy, 'group/default': policy },
    limits: { takeoversPerMinute: 0, handshakes: 0, handshakesPerAddress: 0, retained: 10_000, messagesPerSecond: 0 },
  });
  bystander = await testBroker.connectDevice('bystander');
});
afterAll(() => testBroker.close());

/** A client of a service, which may publish and subscribe to everything. */
function ofService(number: number) {
  const credentials = testBroker.enroll(service('corpus'));
  return { clientId: `corpus-${number}`, open: () => testBroker.open(credentials) };
}

/** A device that sends telemetry. */
function ofDevice(number: number) {
  const clientId = `sender-${number}`;
  const credentials = testBroker.enroll(device(clientId));
  return { clientId, topic: `devices/${clientId}/telemetry/corpus`, open: () => testBroker.open(credentials) };
}

const isPublish = ({ name }: { readonly name: string }) => name.startsWith('PUBLISH');

describe('the broker', () => {
  it('accepts and refuses packets as MQTT 3.1.1 demands', async () => {
    const { count, wrong } = await runCorpus((number) => {
      const client = ofService(number);
      return { ...client, corpus: sample(buildCorpus({ limits, ...client }), 12) };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(400);
  });

  it('accepts and refuses packets as MQTT 5 demands, and tells the reason code and the clause', async () => {
    const { count, wrong } = await runCorpus5((number) => {
      const client = ofService(number);
      return { ...client, corpus: sample(buildCorpus5({ limits, topic: 'a', ...client }), 8) };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(1_000);
  }, 240_000);

  it('does the same with every PUBLISH of a device that sends telemetry', async () => {
    const { count, wrong } = await runCorpus((number) => {
      const client = ofDevice(number);
      return { ...client, corpus: buildCorpus({ limits, ...client }).filter(isPublish) };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(90);
    // Each QoS, with and without RETAIN and DUP; without a payload; of the largest size.
    expect(testBroker.accepted.length).toBe(12);
    const mqtt5 = await runCorpus5((number) => {
      const client = ofDevice(number);
      return { ...client, corpus: sample(buildCorpus5({ limits, ...client }), 8).filter(isPublish) };
    });
    expect(mqtt5.wrong).toEqual([]);
    expect(mqtt5.count).toBeGreaterThan(150);
  });

  it('disturbs no other client meanwhile', async () => {
    expect(await bystander.settled()).toEqual([]);
    expect(testBroker.broker.sessions().map(({ identity }) => identity)).toContainEqual(device('bystander'));
  });
});
