import { hasControls } from '@rollcall/output';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { message } from '../test/behaviour/telemetry-messages.ts';
import { SETS_OF_PROPERTIES } from '../test/behaviour/telemetry-properties.ts';
import { openTestConsole, START, type TestConsole } from '../test/fixtures/console/test-console.ts';

const at = (ms: number) => new Date(ms).toISOString();

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.say('dev-1', 'temperature', '{"celsius":20}', START);
  await fixture.say('dev-1', 'temperature', '{"celsius":22.5}', START + 1000);
  await fixture.say('dev-1', 'temperature', 'say "hi", there', START + 61_000);
  await fixture.say('dev-2', 'raw', Uint8Array.of(0xff, 0x00), START + 62_000);
  await fixture.telemetry.accept({
    ...{ device: 'dev-2' as never, stream: 'raw', receivedAt: START + 63_000, qos: 1, payload: Buffer.from('7') },
    ...{ deviceTime: START - 5, deviceSequence: 3, key: 'k,1', contentType: 'text/plain' },
  });
});
afterAll(() => fixture.close());

async function exported(query: Parameters<typeof fixture.client.exportTelemetry>[0] = {}): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of fixture.client.exportTelemetry(query)) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function propertiesOf({ contentType, payloadFormatIndicator, userProperties }: Record<string, unknown>) {
  return { contentType, payloadFormatIndicator, userProperties };
}

/** One line of RFC 4180. */
function csvFields(line: string): string[] {
  return [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",]*))/g)].map(([, quoted, plain]) =>
    quoted === undefined ? `${plain}` : quoted.replaceAll('""', '"'),
  );
}

describe('an export', () => {
  it('is one JSON document a line, as a query shows the messages', async () => {
    const lines = (await exported())
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const queried = await Promise.all(['dev-1', 'dev-2'].map((device) => fixture.client.queryTelemetry({ device })));
    expect(lines).toEqual(queried.flat());
    expect(lines[4]).toMatchObject({ deviceTime: at(START - 5), deviceSequence: 3, key: 'k,1', payload: 7 });
  });

  it('is CSV with quotes where they are needed, when asked for', async () => {
    expect(await exported({ format: 'csv' })).toBe(
      [
        'position,device,stream,receivedAt,qos,deviceTime,deviceSequence,key,contentType,encoding,payload,payloadFormatIndicator,userProperties',
        `1,dev-1,temperature,${at(START)},1,,,,,json,"{""celsius"":20}",,`,
        `2,dev-1,temperature,${at(START + 1000)},1,,,,,json,"{""celsius"":22.5}",,`,
        `3,dev-1,temperature,${at(START + 61_000)},1,,,,,text,"say ""hi"", there",,`,
        `4,dev-2,raw,${at(START + 62_000)},1,,,,,base64,/wA=,,`,
        `5,dev-2,raw,${at(START + 63_000)},1,${at(START - 5)},3,"k,1",text/plain,json,7,,`,
        '',
      ].join('\r\n'),
    );
  });

  it('contains no formula for a spreadsheet and no control sequence for a terminal', async () => {
    const own = await openTestConsole();
    try {
      const said = ['=HYPERLINK("http://evil.example")', '+1+1', '-2+3', '@SUM(A1)', '\t=1', '\u001b[2J', '-5'];
      for (const [index, text] of said.entries()) await own.say('dev-1', 'text', text, START + index);
      const chunks: Buffer[] = [];
      for await (const chunk of own.client.exportTelemetry({ format: 'csv' })) chunks.push(chunk);
      const rows = Buffer.concat(chunks).toString().trimEnd().split('\r\n').slice(1);
      const shown = rows.map((row) => row.split(',').slice(-4, -2));
      const hidden = said.slice(0, -1).map((text) => ['base64', Buffer.from(text).toString('base64')]);
      expect(shown).toEqual([...hidden, ['json', '-5']]);
    } finally {
      await own.close();
    }
  });

  it('contains the MQTT 5 properties of each message in both formats', async () => {
    const own = await openTestConsole();
    try {
      for (const properties of SETS_OF_PROPERTIES) {
        await own.telemetry.accept({ ...message('dev-1', '1'), ...properties });
      }
      const read = async (format: 'csv' | 'ndjson') => {
        const chunks: Buffer[] = [];
        for await (const chunk of own.client.exportTelemetry({ format })) chunks.push(chunk);
        return Buffer.concat(chunks).toString();
      };
      const expected = SETS_OF_PROPERTIES.map(({ userProperties, ...rest }) => ({
        ...rest,
        userProperties: userProperties?.map(([name, value]) => ({ name, value })),
      }));
      const ndjson = await read('ndjson');
      const lines = ndjson.trimEnd().split('\n');
      expect(lines.map((line) => propertiesOf(JSON.parse(line)))).toEqual(expected);
      expect((await own.client.queryTelemetry({ device: 'dev-1' })).map(propertiesOf)).toEqual(expected);
      expect(hasControls(ndjson.replaceAll('\n', ''))).toBe(false);

      const csv = await read('csv');
      expect(hasControls(csv.replaceAll('\r\n', ''))).toBe(false);
      const [header = [], ...rows] = csv.trimEnd().split('\r\n').map(csvFields);
      const column = (name: string) => rows.map((row) => row[header.indexOf(name)]);
      expect(column('contentType').map((text) => text && (text.startsWith('"') ? JSON.parse(text) : text))).toEqual(
        SETS_OF_PROPERTIES.map(({ contentType = '' }) => contentType),
      );
      expect(column('payloadFormatIndicator')).toEqual(
        SETS_OF_PROPERTIES.map(({ payloadFormatIndicator = '' }) => `${payloadFormatIndicator}`),
      );
      expect(column('userProperties').map((text) => (text === '' ? undefined : JSON.parse(`${text}`)))).toEqual(
        expected.map(({ userProperties }) => userProperties),
      );
    } finally {
      await own.close();
    }
  });

  it('contains no content type that a spreadsheet evaluates', async () => {
    const own = await openTestConsole();
    try {
      const types = ['=HYPERLINK("http://evil.example")', '+1/1', '-1/1', '@SUM(A1)', '\t=1/1', 'text/plain; a="=1"'];
      for (const contentType of types) await own.telemetry.accept({ ...message('dev-1', '1'), contentType });
      const chunks: Buffer[] = [];
      for await (const chunk of own.client.exportTelemetry({ format: 'csv' })) chunks.push(chunk);
      const rows = Buffer.concat(chunks).toString().trimEnd().split('\r\n').slice(1);
      const shown = rows.map((row) => csvFields(row)[8]);
      expect(shown).toEqual([...types.slice(0, -1).map((type) => JSON.stringify(type)), types.at(-1)]);
    } finally {
      await own.close();
    }
  });

  it('contains the selected messages, and nothing when there are none', async () => {
    const found = await exported({ device: 'dev-1', since: at(START + 1000), until: at(START + 61_000) });
    expect(found.split('\n')).toHaveLength(2);
    expect(await exported({ device: 'dev-9' })).toBe('');
    expect(await exported({ stream: 'none', format: 'csv' })).toMatch(/^position,[^\n]*\r\n$/);
  });

  it('is refused as a whole when the range is impossible', async () => {
    const backwards = exported({ since: at(START), until: at(START) });
    await expect(backwards).rejects.toMatchObject({
      code: 'request_invalid',
      detail: expect.stringContaining('range'),
    });
  });
});

describe('a series', () => {
  it('aggregates a number, and counts the messages without one', async () => {
    const range = { since: at(START), until: at(START + 120_000), bucketSeconds: 60 };
    const query = { device: 'dev-1', stream: 'temperature', value: '/celsius', ...range };
    const first = Math.floor(START / 60_000) * 60_000;
    expect(await fixture.client.seriesTelemetry(query)).toEqual({
      points: [{ at: at(first), count: 2, min: 20, max: 22.5, avg: 21.25, last: 22.5 }],
      ignored: 1,
    });
    const refused = { code: 'request_invalid' };
    await expect(fixture.client.seriesTelemetry({ ...query, value: 'celsius' })).rejects.toMatchObject(refused);
    await expect(fixture.client.seriesTelemetry({ ...query, bucketSeconds: 0.001 })).rejects.toMatchObject(refused);
    await expect(fixture.client.seriesTelemetry({ ...query, until: query.since })).rejects.toMatchObject(refused);
  });
});

describe('the journal', () => {
  it('is counted by file, with the intake counters', async () => {
    const stats = await fixture.client.telemetryStats();
    expect(stats).toMatchObject({
      messages: 5,
      damaged: [],
      intake: { stored: 5, refused: 0, isUnderPressure: false },
    });
    expect(stats.segments).toMatchObject([{ firstPosition: 1, messages: 5 }]);
  });

  it('is pruned on request, by whole days', async () => {
    await fixture.say('dev-3', 'temperature', '1', START + 86_400_000);
    fixture.clock.now = START + 5 * 86_400_000;
    expect((await fixture.client.pruneTelemetry()).removed).toEqual([]);
    expect((await fixture.client.pruneTelemetry({ olderThanSeconds: 86_400 })).removed).toMatchObject([
      { messages: 5 },
    ]);
    expect((await fixture.client.lastTelemetry()).map(({ device }) => device)).toEqual(['dev-3']);
  });
});
