/** The corpus against a real broker over mutual TLS, one connection each: of inputs that differ only in a number, some. */

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_LIMITS } from './limits.ts';
import type { Credentials } from './testbed/certificates.ts';
import { buildCorpus, type CorpusCase } from './testbed/packet-corpus.ts';
import { device, service, Testbed } from './testbed/testbed.ts';

const AT_ONCE = 8;
const EVERYTHING = ['#'];

let bed: Testbed;
let credentials: Credentials;

beforeAll(async () => {
  const policy = { connect: ['*'], publish: EVERYTHING, subscribe: EVERYTHING, receive: [], retain: EVERYTHING };
  bed = await Testbed.start({
    policies: { 'service/corpus': policy },
    limits: { takeoversPerMinute: 0, handshakes: 0, handshakesPerAddress: 0, retained: 10_000, messagesPerSecond: 0 },
  });
  credentials = bed.enroll(service('corpus'));
});
afterAll(() => bed.close());

/** Inputs whose names differ only in numbers are a family; a dozen of each, evenly spread. */
function sample(corpus: readonly CorpusCase[]): readonly CorpusCase[] {
  const families = Map.groupBy(corpus, ({ name }) => name.replace(/\b[0-9a-f]{2}\b|\d+/g, 'N'));
  return [...families.values()].flatMap((family) => {
    const stride = Math.max(1, Math.floor(family.length / 12));
    return family.filter((_, index) => index % stride === 0);
  });
}

/** What the broker did with one input. */
async function verdictOf({ after, bytes }: CorpusCase, clientId: string): Promise<string | number> {
  const client = await bed.open(credentials);
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

describe('the broker', () => {
  it('takes and refuses what the standard says, and lives', async () => {
    const wrong: string[] = [];
    let count = 0;
    const worker = async (number: number) => {
      const clientId = `corpus-${number}`;
      const own = sample(buildCorpus({ limits: DEFAULT_LIMITS, clientId }));
      for (let index = number; index < own.length; index += AT_ONCE) {
        const input = own[index] as CorpusCase;
        const verdict = await verdictOf(input, clientId);
        if (verdict !== input.verdict) wrong.push(`${input.name}: expected ${input.verdict}, found ${verdict}`);
        count += 1;
      }
    };
    const bystander = await bed.connectDevice('bystander');
    await Promise.all(Array.from({ length: AT_ONCE }, (_, number) => worker(number)));
    expect(wrong).toEqual([]);
    expect(count).toBeGreaterThan(400);
    expect(await bystander.settled()).toEqual([]);
    expect(bed.broker.sessions().map(({ identity }) => identity)).toContainEqual(device('bystander'));
  }, 120_000);
});
