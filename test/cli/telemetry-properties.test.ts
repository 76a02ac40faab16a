/** The MQTT 5 properties of stored messages on the command line: on a terminal, as JSON, and while they arrive. */

import { once } from 'node:events';
import { hasControls } from '@rollcall/output';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { deviceNamed, message } from '../behaviour/telemetry-messages.ts';
import { HOSTILE_TEXT, SETS_OF_PROPERTIES } from '../behaviour/telemetry-properties.ts';
import { openTestConsole, START, type TestConsole } from '../fixtures/console/test-console.ts';
import { rollcall } from '../fixtures/program.ts';

let fixture: TestConsole;
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.telemetry.accept({
    ...message('dev-1', '{"celsius":21.5}', { receivedAt: START }),
    contentType: 'application/json',
    payloadFormatIndicator: 1,
    userProperties: [
      ['unit', 'celsius'],
      ['unit', ''],
    ],
  });
  await fixture.telemetry.accept({
    ...message('dev-1', 'plain', { receivedAt: START }),
    contentType: HOSTILE_TEXT,
    payloadFormatIndicator: 0,
    userProperties: [[HOSTILE_TEXT, HOSTILE_TEXT]],
  });
  await fixture.telemetry.accept(message('dev-1', 'without', { receivedAt: START }));
  for (const properties of SETS_OF_PROPERTIES) {
    await fixture.telemetry.accept({ ...message('dev-2', '1', { receivedAt: START }), ...properties });
  }
});
afterAll(() => fixture.close());

async function query(device: string, ...args: string[]): Promise<readonly string[]> {
  const socket = ['--socket', fixture.options.socketPath as string];
  const { code, stdout, stderr } = await rollcall(['telemetry', 'query', '--device', device, ...args, ...socket]);
  expect(code, stderr).toBe(0);
  return stdout.trimEnd().split('\n');
}

it('telemetry query prints properties below their message, with every text of the device on one line and in quotes', async () => {
  const lines = await query('dev-1');
  const quoted = '"\\u001b[2J\\r\\n\\"\',;\\u202e=cmd()\\u2028{}[]\\\\"';
  expect(lines).toEqual([
    `${new Date(START).toISOString()}  dev-1  temperature  {"celsius":21.5}`,
    '    content type "application/json"',
    '    payload format 1 (UTF-8)',
    '    user property "unit": "celsius"',
    '    user property "unit": ""',
    `${new Date(START).toISOString()}  dev-1  temperature  plain`,
    `    content type ${quoted}`,
    '    payload format 0 (unspecified)',
    `    user property ${quoted}: ${quoted}`,
    `${new Date(START).toISOString()}  dev-1  temperature  without`,
  ]);
  expect(lines.some(hasControls)).toBe(false);
});

it('telemetry query --json has properties as they were sent, and none that were not', async () => {
  const lines = await query('dev-2', '--json');
  expect(lines.some(hasControls)).toBe(false);
  const found = lines.map((line) => {
    const { contentType, payloadFormatIndicator, userProperties } = JSON.parse(line);
    return { contentType, payloadFormatIndicator, userProperties };
  });
  expect(found).toEqual(
    SETS_OF_PROPERTIES.map(({ userProperties, ...rest }) => ({
      ...rest,
      userProperties: userProperties?.map(([name, value]) => ({ name, value })),
    })),
  );
});

it('a follower gets the properties of a message with it', async () => {
  const stop = new AbortController();
  const listening = once(fixture.followers, 'followed');
  const followed = fixture.client
    .followTelemetry({ device: deviceNamed('dev-3') }, stop.signal)
    [Symbol.asyncIterator]();
  const next = followed.next();
  await listening;
  await fixture.telemetry.accept({ ...message('dev-3', '1'), userProperties: [[HOSTILE_TEXT, HOSTILE_TEXT]] });
  expect((await next).value).toMatchObject({ userProperties: [{ name: HOSTILE_TEXT, value: HOSTILE_TEXT }] });
  stop.abort();
});
