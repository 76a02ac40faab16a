/** The MQTT 5 properties of a message that every journal stores: content type, payload format indicator, user properties. */

import type { UserProperty } from '@rollcall/protocol';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { StoredMessage, Telemetry, TelemetryMessage } from '../../telemetry/index.ts';
import { positionOf } from '../../telemetry/position.ts';
import { DAY, deviceNamed, message, type OpenFreshTelemetry, START, texts } from './telemetry-messages.ts';

type Properties = Pick<TelemetryMessage, 'contentType' | 'payloadFormatIndicator' | 'userProperties'>;

const PUMP = deviceNamed('pump-1');

/** What a terminal, a spreadsheet or a parser of lines would act on. */
export const HOSTILE_TEXT = '\u001b[2J\r\n"\',;\u202e=cmd()\u2028{}[]\\';

/** Each of them alone and together, with empty texts, and with a name that occurs twice. */
export const SETS_OF_PROPERTIES: readonly Properties[] = [
  {},
  { contentType: 'application/json' },
  { contentType: '' },
  { payloadFormatIndicator: 0 },
  { payloadFormatIndicator: 1 },
  {
    userProperties: [
      ['unit', 'celsius'],
      ['a', '2'],
      ['unit', 'kelvin'],
      ['', ''],
    ],
  },
  {
    contentType: 'text/plain; charset=utf-8',
    payloadFormatIndicator: 1,
    userProperties: [
      [HOSTILE_TEXT, HOSTILE_TEXT],
      ['Zürich 🌡️', '温度'],
    ],
  },
  { contentType: 'x'.repeat(300), userProperties: [['n'.repeat(200), 'v'.repeat(20_000)]] },
];

function propertiesOf({ contentType, payloadFormatIndicator, userProperties }: Properties): Properties {
  return {
    ...(contentType !== undefined && { contentType }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(userProperties !== undefined && { userProperties }),
  };
}

async function everyWay(telemetry: Telemetry): Promise<(readonly StoredMessage[])[]> {
  const pages: StoredMessage[] = [];
  for await (const page of telemetry.pages({})) pages.push(...page);
  return [pages, await telemetry.query({ device: PUMP, limit: 1000 }), await telemetry.last()];
}

export function messagePropertyBehaviour(openFresh: OpenFreshTelemetry): void {
  it('returns the MQTT 5 properties of each message as they were sent, whichever way it is read', async () => {
    const { telemetry, reopen } = await openFresh();
    const heard: StoredMessage[] = [];
    telemetry.follow(undefined, (one) => heard.push(one));
    const sent = SETS_OF_PROPERTIES.flatMap((properties, i) => [
      { ...message('pump-1', `${i}`, { stream: `s${i}` }), ...properties },
      { ...message('pump-1', `${i} with a key`, { stream: `t${i}` }), ...properties, key: `${i}.k`, deviceSequence: i },
      message('pump-1', `${i} without`, { stream: `u${i}` }),
    ]);
    await Promise.all(sent.map((one) => telemetry.accept(one)));
    const expected = sent.map((one, i) => ({ ...one, position: i + 1 }));
    const byStream = [...expected].sort((one, other) => (one.stream < other.stream ? -1 : 1));
    const check = (ways: readonly (readonly StoredMessage[])[]) => expect(ways).toEqual([expected, expected, byStream]);
    check(await everyWay(telemetry));
    expect(heard).toEqual(expected);
    check(await everyWay(await reopen()));
  });

  it('returns any user properties in their order', async () => {
    const { telemetry } = await openFresh();
    const text = fc.string({ unit: 'binary', maxLength: 40 }).filter((one) => one.isWellFormed());
    const userProperties = fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 32 });
    const sets = fc.sample(fc.record({ contentType: text, userProperties }), { numRuns: 200, seed: 5 });
    await Promise.all(sets.map((set, i) => telemetry.accept({ ...message('pump-1', `${i}`), ...set })));
    const found = await telemetry.query({ device: PUMP, limit: 1000 });
    expect(found.map(propertiesOf)).toEqual(sets);
    expect(texts(found)).toEqual(sets.map((_, i) => `${i}`));
  });

  it('reads an empty list of user properties back as none', async () => {
    const { telemetry } = await openFresh();
    await telemetry.accept({ ...message('pump-1', 'a'), userProperties: [] });
    const [found] = await telemetry.query({ device: PUMP, limit: 9 });
    expect(found).not.toHaveProperty('userProperties');
  });

  it('stores the properties of the first message of a key, and not those of its repetition', async () => {
    const { telemetry, reopen } = await openFresh();
    const sent = (value: string): TelemetryMessage => ({
      ...message('pump-1', 'a'),
      key: '1.k',
      userProperties: [['attempt', value]],
    });
    expect([await telemetry.accept(sent('1')), await telemetry.accept(sent('2'))]).toEqual(['stored', 'repeated']);
    const found = await (await reopen()).query({ device: PUMP, limit: 9 });
    expect(found.map(({ userProperties }) => userProperties)).toEqual([[['attempt', '1']]]);
  });

  it('has the properties of messages of every day, and removes them with the day', async () => {
    const { telemetry } = await openFresh();
    for (const day of [0, 1, 2]) {
      const receivedAt = START + day * DAY;
      await telemetry.accept({ ...message('pump-1', '', { receivedAt }), userProperties: [['day', `${day}`]] });
    }
    const days = async () =>
      (await telemetry.query({ device: PUMP, limit: 9 })).map(({ userProperties }) => userProperties?.[0]?.[1]);
    expect(await days()).toEqual(['0', '1', '2']);
    await telemetry.prune({ age: 0, bytes: 1 });
    expect(await days()).toEqual(['2']);
  });

  it('aggregates the payload alone, whatever properties stand before it', async () => {
    const { telemetry } = await openFresh();
    const sent = { ...message('pump-1', '{"celsius":21.5}'), ...SETS_OF_PROPERTIES[6] };
    await telemetry.accept(sent);
    const { points, ignored } = await telemetry.series({
      device: PUMP,
      stream: 'temperature',
      pointer: '/celsius',
      since: START,
      until: START + DAY,
      bucket: DAY,
    });
    expect([points.map(({ avg }) => avg), ignored]).toEqual([[21.5], 0]);
  });

  it('counts properties in the 16 MiB of a response, and returns all of them in pages', async () => {
    const { telemetry } = await openFresh();
    const large: UserProperty[] = [['large', 'x'.repeat(60_000)]];
    const many: UserProperty[] = Array.from({ length: 32 }, () => ['', '']);
    const sent = (i: number): TelemetryMessage => ({
      ...message('pump-1', `${i}`),
      userProperties: i < 300 ? large : many,
    });
    await Promise.all(Array.from({ length: 6300 }, (_, i) => telemetry.accept(sent(i))));
    const newest = await telemetry.query({ device: PUMP, limit: 10_000 });
    expect(newest.length).toBeLessThan(6000);
    expect(await telemetry.query({ device: PUMP, limit: 10_000, before: positionOf(301) })).not.toHaveLength(300);
    let count = 0;
    for await (const page of telemetry.pages({})) {
      expect(page.length).toBeLessThan(500);
      count += page.length;
    }
    expect(count).toBe(6300);
  });

  it('refuses properties of another shape or of more than 64 KiB, and stores the rest of the batch', async () => {
    const { telemetry } = await openFresh();
    const bad: object[] = [
      { contentType: 5 },
      { contentType: 'x'.repeat(65_536) },
      { payloadFormatIndicator: 2 },
      { userProperties: 'text' },
      { userProperties: [['name']] },
      { userProperties: [['name', 5]] },
      { userProperties: Array.from({ length: 300 }, () => ['name', 'v'.repeat(300)]) },
    ];
    const outcomes = await Promise.allSettled([
      telemetry.accept(message('pump-1', 'a')),
      ...bad.map((one) => telemetry.accept({ ...message('pump-1', 'bad'), ...one })),
      telemetry.accept(message('pump-1', 'b')),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', ...bad.map(() => 'rejected'), 'fulfilled']);
    expect(texts(await telemetry.query({ device: PUMP, limit: 9 }))).toEqual(['a', 'b']);
  });
}
