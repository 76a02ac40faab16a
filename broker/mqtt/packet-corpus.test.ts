/** The corpus of MQTT 3.1.1 against a real broker over mutual TLS, one connection each: of inputs that differ only in a number, some. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Credentials } from '../../test/fixtures/broker/certificates.ts';
import { buildCorpus, type CorpusCase } from '../../test/fixtures/broker/packet-corpus.ts';
import { device, service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { PROPERTY_LIMITS } from './codec/packet-limits.ts';

const AT_ONCE = 8;
const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };
const EVERYTHING = ['#'];

let testBroker: TestBroker;

beforeAll(async () => {
  const policy = { connect: ['*'], publish: EVERYTHING, subscribe: EVERYTHING, receive: [], retain: EVERYTHING };
  testBroker = await TestBroker.start({
    policies: { 'service/corpus': policy, 'group/default': policy },
    limits: { takeoversPerMinute: 0, handshakes: 0, handshakesPerAddress: 0, retained: 10_000, messagesPerSecond: 0 },
  });
});
afterAll(() => testBroker.close());

/** Inputs whose names differ only in numbers are a family; a dozen of each, evenly spread. */
function sample(corpus: readonly CorpusCase[]): readonly CorpusCase[] {
  const families = Map.groupBy(corpus, ({ name }) => name.replace(/\b[0-9a-f]{2}\b|\d+/g, 'N'));
  return [...families.values()].flatMap((family) => {
    const stride = Math.max(1, Math.floor(family.length / 12));
    return family.filter((_, index) => index % stride === 0);
  });
}

/** What the broker did with one input. */
async function verdictOf(
  { after, bytes }: CorpusCase,
  clientId: string,
  credentials: Credentials,
): Promise<string | number> {
  const client = await testBroker.open(credentials);
  if (after === 'connack' && (await client.connect({ clientId })) !== 0) throw new Error('expected CONNACK 0');
  client.send(bytes);
  if (after === 'handshake' && bytes.length > 1) {
    const first = await client.next();
    if (first === undefined) return 'close';
    if (first.cmd === 'connack' && first.returnCode !== 0) {
      await client.closed;
      return first.returnCode as number;
    }
  }
  client.send({ cmd: 'pingreq' });
  for (;;) {
    const packet = await client.next();
    if (packet === undefined) return 'close';
    if (packet.cmd === 'pingresp') break;
  }
  client.destroy();
  await client.closed;
  return 'taken';
}

/** Several clients, each with its share of the corpus. Returns how many inputs there were, and those with another verdict. */
async function tryAll(
  start: (number: number) => { clientId: string; credentials: Credentials; corpus: readonly CorpusCase[] },
): Promise<{ readonly count: number; readonly wrong: readonly string[] }> {
  const wrong: string[] = [];
  let count = 0;
  const worker = async (number: number) => {
    const { clientId, credentials, corpus } = start(number);
    for (let index = number; index < corpus.length; index += AT_ONCE) {
      const input = corpus[index] as CorpusCase;
      const verdict = await verdictOf(input, clientId, credentials);
      if (verdict !== input.verdict) wrong.push(`${input.name}: expected ${input.verdict}, found ${verdict}`);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, number) => worker(number)));
  return { count, wrong };
}

describe('the broker', () => {
  it('accepts and refuses packets as the standard demands, and keeps running', async () => {
    const credentials = testBroker.enroll(service('corpus'));
    const bystander = await testBroker.connectDevice('bystander');
    const { count, wrong } = await tryAll((number) => {
      const clientId = `corpus-${number}`;
      return { clientId, credentials, corpus: sample(buildCorpus({ limits, clientId })) };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(400);
    expect(await bystander.settled()).toEqual([]);
    expect(testBroker.broker.sessions().map(({ identity }) => identity)).toContainEqual(device('bystander'));
  }, 120_000);

  it('does the same with every PUBLISH of a device that sends telemetry', async () => {
    const { count, wrong } = await tryAll((number) => {
      const clientId = `sender-${number}`;
      const topic = `devices/${clientId}/telemetry/corpus`;
      const corpus = buildCorpus({ limits, clientId, topic });
      const publishes = corpus.filter(({ name }) => name.startsWith('PUBLISH'));
      return { clientId, credentials: testBroker.enroll(device(clientId)), corpus: publishes };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(90);
    // Each QoS, with and without RETAIN and DUP; without a payload; of the largest size.
    expect(testBroker.accepted.filter(({ device: of }) => of.startsWith('sender-')).length).toBe(12);
  }, 120_000);
});
