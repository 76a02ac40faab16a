/** What every intake of telemetry does, wherever it runs. Called by the test of each implementation. */

import { expect, it } from 'vitest';
import type { StoredMessage } from '../../telemetry/index.ts';
import { messageKeyBehaviour } from './telemetry-keys.ts';
import { deviceNamed, message, type OpenFreshTelemetry, START, texts } from './telemetry-messages.ts';

export function telemetryIntakeBehaviour(openFresh: OpenFreshTelemetry): void {
  it('returns accepted messages byte for byte', async () => {
    const { telemetry } = await openFresh();
    const whole = Uint8Array.from({ length: 512 }, (_, i) => i % 256);
    const payloads = [new Uint8Array(0), whole, whole.subarray(3, 9), Buffer.alloc(300_000, 0xfe)];
    const accepted = payloads.map((payload, i) => ({
      ...message('pump-1', ''),
      payload,
      qos: ((i + 1) % 3) as 0 | 1 | 2,
    }));
    for (const one of accepted) await telemetry.accept(one);
    const found = await telemetry.query({ device: deviceNamed('pump-1'), limit: 10 });
    expect(found.map(({ position }) => position)).toEqual([1, 2, 3, 4]);
    for (const [i, one] of accepted.entries()) {
      const { payload, ...rest } = found[i] as StoredMessage;
      expect(rest).toEqual({
        position: i + 1,
        device: 'pump-1',
        stream: 'temperature',
        receivedAt: START,
        qos: one.qos,
      });
      expect(Buffer.compare(payload, one.payload)).toBe(0);
    }
  });

  it('preserves the order in which messages were accepted', async () => {
    const { telemetry } = await openFresh();
    await Promise.all(['1', '2', '3', '4'].map((text) => telemetry.accept(message('pump-1', text))));
    expect(texts(await telemetry.query({ device: deviceNamed('pump-1'), limit: 10 }))).toEqual(['1', '2', '3', '4']);
  });

  it('has all messages after a restart, and continues its positions', async () => {
    const { telemetry, reopen } = await openFresh();
    await telemetry.accept(message('pump-1', 'before'));
    const reopened = await reopen();
    await reopened.accept(message('pump-1', 'after'));
    const found = await reopened.query({ device: deviceNamed('pump-1'), limit: 10 });
    expect(found.map(({ position, payload }) => [position, `${payload}`])).toEqual([
      [1, 'before'],
      [2, 'after'],
    ]);
  });

  it('stores the properties that the device set on a message', async () => {
    const { telemetry, reopen } = await openFresh();
    const said = { deviceTime: START - 5.5, deviceSequence: 7, key: 'k-1', contentType: 'application/json' };
    await Promise.all([
      telemetry.accept(message('pump-1', 'plain')),
      telemetry.accept({ ...message('pump-1', 'all'), ...said }),
      telemetry.accept({ ...message('pump-1', 'a sequence'), deviceSequence: 0 }),
    ]);
    const found = await (await reopen()).query({ device: deviceNamed('pump-1'), limit: 9 });
    const plain = { device: 'pump-1', stream: 'temperature', receivedAt: START, qos: 1 };
    expect(found.map(({ payload: _, ...rest }) => rest)).toEqual([
      { ...plain, position: 1 },
      { ...plain, position: 2, ...said },
      { ...plain, position: 3, deviceSequence: 0 },
    ]);
  });

  messageKeyBehaviour(openFresh);

  it('accepts QoS 0 without a waiting caller, stores it in order, and counts it', async () => {
    const { telemetry } = await openFresh();
    const order: string[] = [];
    const waiting = telemetry.accept(message('pump-1', 'a')).then(() => order.push('qos 1'));
    await telemetry.accept({ ...message('pump-1', 'b'), qos: 0 }).then(() => order.push('qos 0'));
    await waiting;
    expect(order).toEqual(['qos 0', 'qos 1']);
    expect(texts(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 }))).toEqual(['a', 'b']);
    await expect
      .poll(() => telemetry.counters())
      .toMatchObject({ stored: 2, storedQos0: 1, queuedBytes: 0, isUnderPressure: false });
  });

  it('notifies followers of accepted messages, in order, with their position, once they can be read', async () => {
    const { telemetry } = await openFresh();
    await telemetry.accept(message('pump-1', 'too early'));
    const all: StoredMessage[] = [];
    const one: StoredMessage[] = [];
    const reads: Promise<readonly StoredMessage[]>[] = [];
    telemetry.follow(undefined, (stored) => {
      all.push(stored);
      reads.push(telemetry.query({ device: stored.device, limit: 10 }));
    });
    const stop = telemetry.follow(deviceNamed('pump-2'), (stored) => one.push(stored));
    await telemetry.accept(message('pump-1', 'a'));
    await telemetry.accept(message('pump-2', 'b'));
    // An intake in another thread says that a message is stored on another way than followers hear of it.
    await expect.poll(() => one).toHaveLength(1);
    stop();
    await telemetry.accept(message('pump-2', 'c'));
    await expect.poll(() => all.map(({ position, payload }) => `${position}${payload}`)).toEqual(['2a', '3b', '4c']);
    expect(one.map(({ position, payload }) => `${position}${payload}`)).toEqual(['3b']);
    for (const [index, found] of (await Promise.all(reads)).entries()) expect(found).toContainEqual(all[index]);
  });

  it('is not disturbed by a follower that fails', async () => {
    const { telemetry } = await openFresh();
    const heard: StoredMessage[] = [];
    telemetry.follow(undefined, () => {
      throw new Error('follower');
    });
    telemetry.follow(undefined, (stored) => heard.push(stored));
    await Promise.all([telemetry.accept(message('pump-1', 'a')), telemetry.accept(message('pump-1', 'b'))]);
    await expect.poll(() => texts(heard)).toEqual(['a', 'b']);
    expect(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).toHaveLength(2);
  });

  it('refuses an invalid message, without effect on valid ones beside it', async () => {
    const { telemetry } = await openFresh();
    const sound = message('pump-1', 'a');
    const outcomes = await Promise.allSettled([
      telemetry.accept(sound),
      telemetry.accept({ ...sound, payload: 'text' as never }),
      telemetry.accept({ ...sound, stream: undefined as never }),
      telemetry.accept({ ...sound, receivedAt: Number.NaN }),
      telemetry.accept({ ...sound, qos: 3 as never }),
      telemetry.accept(sound),
    ]);
    expect(outcomes.map((outcome) => outcome.status)).toEqual([
      'fulfilled',
      ...Array.from({ length: 4 }, () => 'rejected'),
      'fulfilled',
    ]);
    expect(await telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).toHaveLength(2);
  });

  it('stores what was accepted before it was closed, and nothing afterwards', async () => {
    const { telemetry, reopen } = await openFresh();
    const waiting = [telemetry.accept(message('pump-1', 'a')), telemetry.accept(message('pump-1', 'b'))];
    const reopened = await reopen();
    await Promise.all(waiting);
    expect(texts(await reopened.query({ device: deviceNamed('pump-1'), limit: 9 }))).toEqual(['a', 'b']);
    const closed = { code: 'unavailable' };
    await expect(telemetry.accept(message('pump-1', 'c'))).rejects.toMatchObject(closed);
    await expect(telemetry.query({ device: deviceNamed('pump-1'), limit: 9 })).rejects.toMatchObject(closed);
    await expect(telemetry.last()).rejects.toMatchObject(closed);
    await telemetry.close();
  });
}
