/**
 * The corpus of MQTT 5 against a real broker over mutual TLS, one connection each: of inputs that differ only in a number or a text, some.
 * The reason code and the clause of each refusal are read from CONNACK or DISCONNECT.
 */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Credentials } from '../../test/fixtures/broker/certificates.ts';
import type { CorpusCase5 } from '../../test/fixtures/broker/mqtt5-corpus/case.ts';
import { connect5 } from '../../test/fixtures/broker/mqtt5-corpus/connect-cases.ts';
import { buildCorpus5 } from '../../test/fixtures/broker/mqtt5-corpus/corpus.ts';
import type { RawClient } from '../../test/fixtures/broker/raw-client.ts';
import { device, service, TestBroker } from '../../test/fixtures/broker/test-broker.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { PROPERTY_LIMITS } from './codec/packet-limits.ts';

const AT_ONCE = 8;
const EVERYTHING = ['#'];
const limits = { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS };

let testBroker: TestBroker;

beforeAll(async () => {
  const policy = { connect: ['*'], publish: EVERYTHING, subscribe: EVERYTHING, receive: [], retain: EVERYTHING };
  testBroker = await TestBroker.start({
    policies: { 'service/corpus': policy, 'group/default': policy },
    limits: { takeoversPerMinute: 0, handshakes: 0, handshakesPerAddress: 0, retained: 10_000, messagesPerSecond: 0 },
  });
});
afterAll(() => testBroker.close());

/** Inputs whose names differ only in numbers are a family; a few of each, evenly spread. */
function sample(corpus: readonly CorpusCase5[]): readonly CorpusCase5[] {
  const families = Map.groupBy(corpus, ({ name }) => {
    return name.replace(/, (?:name|value|text) with .*/, '').replace(/\b[0-9a-f]{2}\b|\d+/g, 'N');
  });
  return [...families.values()].flatMap((family) => {
    const stride = Math.max(1, Math.floor(family.length / 8));
    return family.filter((_, index) => index % stride === 0);
  });
}

/** `taken`, `ended` (no packet, then closed), or the reason code and clause. */
function expectedOf({ verdict, brokerCode }: CorpusCase5): string {
  if (brokerCode !== undefined && verdict === 'taken') return String(brokerCode);
  if (typeof verdict === 'string') return verdict;
  if (verdict.isSilent) return 'ended';
  return `${verdict.reasonCode} (${verdict.clause})`;
}

function refusalOf(code: number | undefined, reasonString: string | undefined): string {
  const clause = /\([^)]*\)$/.exec(reasonString ?? '')?.[0];
  return clause === undefined ? String(code) : `${code} ${clause}`;
}

async function foundOf(client: RawClient, { after, bytes }: CorpusCase5, clientId: string): Promise<string> {
  client.protocolVersion = 5;
  if (after === 'connack') {
    client.send(connect5({ clientId }));
    const connack = await client.next();
    if (connack?.cmd !== 'connack' || connack.reasonCode !== 0) throw new Error('expected CONNACK 0');
  }
  client.send(bytes);
  if (after === 'handshake') {
    const connack = await client.next();
    if (connack === undefined) return 'ended';
    if (connack.cmd !== 'connack') throw new Error(`expected CONNACK, found ${connack.cmd}`);
    if (connack.reasonCode !== 0) {
      expect(await client.next()).toBeUndefined();
      return refusalOf(connack.reasonCode, connack.properties?.reasonString);
    }
  }
  client.send({ cmd: 'pingreq' });
  for (;;) {
    const packet = await client.next();
    if (packet === undefined) return 'ended';
    if (packet.cmd === 'pingresp') return 'taken';
    if (packet.cmd === 'disconnect') {
      expect(await client.next()).toBeUndefined();
      return refusalOf(packet.reasonCode, packet.properties?.reasonString);
    }
  }
}

/** Several clients, each with its share of the corpus. Returns how many inputs there were, and those with another outcome. */
async function tryAll(
  start: (number: number) => { clientId: string; credentials: Credentials; corpus: readonly CorpusCase5[] },
): Promise<{ readonly count: number; readonly wrong: readonly string[] }> {
  const wrong: string[] = [];
  let count = 0;
  const worker = async (number: number) => {
    const { clientId, credentials, corpus } = start(number);
    for (let index = number; index < corpus.length; index += AT_ONCE) {
      const input = corpus[index] as CorpusCase5;
      const client = await testBroker.open(credentials);
      const found = await foundOf(client, input, clientId);
      client.destroy();
      await client.closed;
      if (found !== expectedOf(input)) wrong.push(`${input.name}: expected ${expectedOf(input)}, found ${found}`);
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, (_, number) => worker(number)));
  return { count, wrong };
}

describe('the broker', () => {
  it('accepts and refuses packets as MQTT 5 demands, with reason code and clause, and keeps running', async () => {
    const credentials = testBroker.enroll(service('corpus'));
    const bystander = await testBroker.connectDevice('bystander');
    const { count, wrong } = await tryAll((number) => {
      const clientId = `corpus-${number}`;
      return { clientId, credentials, corpus: sample(buildCorpus5({ limits, clientId, topic: 'a' })) };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(1_000);

    expect(await bystander.settled()).toEqual([]);
    expect(testBroker.broker.sessions().map(({ identity }) => identity)).toContainEqual(device('bystander'));
  }, 240_000);

  it('does the same with every PUBLISH of a device that sends telemetry', async () => {
    const { count, wrong } = await tryAll((number) => {
      const clientId = `sender-${number}`;
      const topic = `devices/${clientId}/telemetry/corpus`;
      const corpus = sample(buildCorpus5({ limits, clientId, topic }));
      const publishes = corpus.filter(({ name }) => name.startsWith('PUBLISH'));
      return { clientId, credentials: testBroker.enroll(device(clientId)), corpus: publishes };
    });
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(150);
  }, 120_000);
});
