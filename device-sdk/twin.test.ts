import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../test/fixtures/temporary.ts';
import type { JsonObject, Parser } from './device-schema.ts';
import { type DeviceLog, SILENT_LOG } from './device-state.ts';
import { jsonFile } from './json-file.ts';
import type { Payload } from './payload.ts';
import type { Receipt } from './receipt.ts';
import { Twin } from './twin.ts';

const RECEIPT: Receipt = { key: 'k', acknowledged: Promise.resolve() };

async function start(options: { readonly directory?: string; readonly parser?: Parser } = {}) {
  const directory = options.directory ?? temporaryDirectory();
  const published: Payload[] = [];
  const warnings: string[] = [];
  const log: DeviceLog = { ...SILENT_LOG, warn: (_fields, phrase) => warnings.push(phrase) };
  const twin = (await Twin.open({
    file: jsonFile(join(directory, 'twin.json'), 0o600),
    publish: async (payload) => {
      published.push(payload);
      return RECEIPT;
    },
    parser: options.parser,
    log,
  })) as unknown as Twin;
  const desire = (version: number, state: unknown) => twin.receive(Buffer.from(JSON.stringify({ version, state })));
  return { directory, twin, desire, published, warnings };
}

describe('the desired state', () => {
  it('is told with what of it is not reported yet, and survives a restart', async () => {
    const { twin, desire, directory } = await start();
    await twin.report({ interval: 10, wifi: { channel: 1, power: 3 }, tags: ['a'] });
    const told: unknown[] = [];
    twin.onDesired((delta, { version }) => told.push([version, delta]));
    await desire(4, { interval: 10, wifi: { channel: 6, power: 3 }, tags: ['a', 'b'] });
    expect(told).toEqual([[4, { wifi: { channel: 6 }, tags: ['a', 'b'] }]]);
    const again = await start({ directory });
    expect(again.twin.desired).toEqual(twin.desired);
    expect(again.twin.delta).toEqual(twin.delta);
    expect(again.twin.reported.version).toBe(1);
  });

  it('is told to who listens later, if something is left to do', async () => {
    const { twin, desire } = await start();
    await desire(1, { interval: 5 });
    const told: JsonObject[] = [];
    twin.onDesired((delta) => told.push(delta));
    await twin.report({ interval: 5 });
    twin.onDesired((delta) => told.push(delta));
    expect(told).toEqual([{ interval: 5 }]);
    expect(twin.delta).toEqual({});
  });

  it('of an older or the same version changes nothing', async () => {
    const { twin, desire } = await start();
    await desire(7, { interval: 7 });
    await desire(7, { interval: 8 });
    await desire(6, { interval: 6 });
    expect(twin.desired).toEqual({ version: 7, state: { interval: 7 } });
  });

  it.each([
    '',
    '{',
    '[]',
    '{"version":"1","state":{}}',
    '{"version":1.5,"state":{}}',
    '{"version":1,"state":[]}',
    'null',
  ])('is not read from %j', async (text) => {
    const { twin, warnings } = await start();
    await twin.receive(Buffer.from(text));
    expect(twin.desired.version).toBe(0);
    expect(warnings).toHaveLength(text === '' ? 0 : 1);
  });

  it('that does not fit its schema is passed over', async () => {
    const parser: Parser = {
      parse: (value) => {
        if (typeof (value as { interval?: unknown }).interval !== 'number') throw new Error('no number');
        return value;
      },
    };
    const { twin, desire, warnings } = await start({ parser });
    await desire(1, { interval: 'often' });
    expect(warnings).toHaveLength(1);
    await desire(2, { interval: 3 });
    expect(twin.desired.version).toBe(2);
  });

  it('is not acknowledged when it can not be stored', async () => {
    const { twin, desire, directory } = await start();
    chmodSync(directory, 0o500);
    const isRoot = process.getuid?.() === 0; // who may write anywhere
    if (isRoot) writeFileSync(join(directory, 'twin.json.tmp'), '');
    const { twin: nowhere } = await start({ directory: join(directory, 'not', 'there') });
    await expect(nowhere.receive(Buffer.from('{"version":1,"state":{}}'))).rejects.toMatchObject({
      code: 'queue_unwritable',
    });
    expect(nowhere.desired.version).toBe(0);
    chmodSync(directory, 0o700);
    await desire(1, {});
    expect(twin.desired.version).toBe(1);
  });
});

describe('the reported state', () => {
  it('is merged, numbered, and published whole with the desired version it knows', async () => {
    const { twin, desire, published } = await start();
    await desire(3, { interval: 5 });
    await twin.report({ interval: 5, wifi: { channel: 6, power: 1 } });
    await twin.report({ wifi: { power: null, mode: 'b' }, interval: null });
    expect(published).toEqual([
      { version: 1, desiredVersion: 3, state: { interval: 5, wifi: { channel: 6, power: 1 } } },
      { version: 2, desiredVersion: 3, state: { wifi: { channel: 6, mode: 'b' } } },
    ]);
  });

  it('never takes a name of its prototype', async () => {
    const { twin } = await start();
    await twin.report(JSON.parse('{"__proto__":{"polluted":true},"constructor":1}'));
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    expect(Object.keys(twin.reported.state).sort()).toEqual(['__proto__', 'constructor']);
  });

  it('is said again after a restart', async () => {
    const { twin, directory } = await start();
    await twin.report({ a: 1 });
    const again = await start({ directory });
    await again.twin.repeat();
    expect(again.published).toEqual([{ version: 1, desiredVersion: 0, state: { a: 1 } }]);
  });

  it('refuses what has no JSON form', async () => {
    const { twin } = await start();
    await expect(twin.report({ big: 1n })).rejects.toMatchObject({ code: 'request_invalid' });
    await expect(twin.report([] as never)).rejects.toMatchObject({ code: 'request_invalid' });
    expect(twin.reported.version).toBe(0);
  });
});

it('a twin whose file is damaged begins anew', async () => {
  const directory = temporaryDirectory();
  writeFileSync(join(directory, 'twin.json'), '{"desired":');
  const { twin, desire } = await start({ directory });
  await desire(2, { a: 1 });
  expect(twin.desired.version).toBe(2);
  expect(JSON.parse(readFileSync(join(directory, 'twin.json'), 'utf8'))).toMatchObject({ desired: { version: 2 } });
});
