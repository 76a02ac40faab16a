/** Messages with a key, which every journal stores once. */

import { expect, it } from 'vitest';
import type { StoredMessage } from '../../telemetry/index.ts';
import { DAY, deviceNamed, message, type OpenFreshTelemetry, START, texts } from './telemetry-messages.ts';

export function messageKeyBehaviour(openFresh: OpenFreshTelemetry): void {
  it.each(['k1', '41.e'])(
    'stores a message that is sent again with the key %s once, and says which one it stored',
    async (key) => {
      const { telemetry, reopen } = await openFresh();
      const heard: string[] = [];
      telemetry.follow(undefined, ({ position, payload }) => heard.push(`${position}${payload}`));
      const keyed = (device: string, text: string) => ({ ...message(device, text), key });
      const outcomes = await Promise.all([
        telemetry.accept(keyed('pump-1', 'a')),
        telemetry.accept(keyed('pump-1', 'a again')),
        telemetry.accept(keyed('pump-2', 'b')),
        telemetry.accept(message('pump-1', 'c')),
      ]);
      expect(outcomes).toEqual(['stored', 'repeated', 'stored', 'stored']);
      expect(await telemetry.accept({ ...keyed('pump-1', 'a once more'), qos: 0 })).toBe('repeated');
      const reopened = await reopen();
      expect(await reopened.accept(keyed('pump-1', 'a after all'))).toBe('repeated');
      await expect.poll(() => heard).toEqual(['1a', '2b', '3c']);
      expect(texts(await reopened.query({ device: deviceNamed('pump-1'), limit: 9 }))).toEqual(['a', 'c']);
      await expect.poll(() => telemetry.counters()).toMatchObject({ stored: 3, repeated: 2 });
      await expect.poll(() => reopened.counters()).toMatchObject({ stored: 0, repeated: 1 });
    },
  );

  it('stores a message once under a key of the server itself, which no reader gets', async () => {
    const { telemetry } = await openFresh();
    const device = deviceNamed('pump-1');
    const seen: (readonly [string, boolean])[] = [];
    const see = (found: StoredMessage) => seen.push([`${found.payload}`, 'key' in found]);
    telemetry.follow(undefined, see);
    const own = { ...message('pump-1', 'a'), key: '/9b2c1c5e' };
    expect(await telemetry.accept(own)).toBe('stored');
    expect(await telemetry.accept(own)).toBe('repeated');
    for (const found of [...(await telemetry.query({ device, limit: 9 })), ...(await telemetry.last(device))])
      see(found);
    expect(seen).toEqual([
      ['a', false],
      ['a', false],
      ['a', false],
    ]);
  });

  it('reports to callbacks which messages were stored before', async () => {
    const { telemetry } = await openFresh();
    const told: string[] = [];
    await new Promise<void>((done) => {
      const tell = (text: string, outcome: string) => {
        told.push(`${text} ${outcome}`);
        if (text === 'last') done();
      };
      for (const [text, key] of [['a', '1.e'], ['b'], ['c', 'k'], ['a', '1.e'], ['c', 'k'], ['last']] as const) {
        const outcomes = {
          stored: () => tell(text, 'stored'),
          repeated: () => tell(text, 'repeated'),
          notStored: () => tell(text, 'not stored'),
        };
        telemetry.submit(key === undefined ? message('pump-1', text) : { ...message('pump-1', text), key }, outcomes);
      }
    });
    expect(told).toEqual(['a stored', 'b stored', 'c stored', 'a repeated', 'c repeated', 'last stored']);
  });

  it.each(['k1', '41.e'])('knows the key %s from the day before', async (key) => {
    const { telemetry } = await openFresh();
    const sent = (receivedAt: number) => ({ ...message('pump-1', 'a', { receivedAt }), key });
    await telemetry.accept(sent(START));
    await telemetry.accept(message('pump-1', 'b', { receivedAt: START + DAY }));
    await telemetry.accept(sent(START + DAY));
    expect(texts(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 }))).toEqual(['a', 'b']);
  });
}
