/** What the keeper and the thread that writes tell each other about followed devices. */

import { MessageChannel } from 'node:worker_threads';
import { pino } from 'pino';
import { expect, it, onTestFinished } from 'vitest';
import { Channel, type FollowCalls, type FollowedDevices, type StoredMessageCalls } from '../../storage/index.ts';
import { StoredMessages } from './stored-messages.ts';

/** The other end, which answers when the test says so. */
function openWith(followed: () => FollowedDevices) {
  const asked: { readonly devices: FollowedDevices; readonly answer: () => void }[] = [];
  const writers: Channel<StoredMessageCalls, FollowCalls>[] = [];
  const stored = new StoredMessages<string>({
    log: pino({ level: 'silent' }),
    followed,
    stored: () => {},
    port: async () => {
      const { port1, port2 } = new MessageChannel();
      const writer = new Channel<StoredMessageCalls, FollowCalls>(port1, { name: 'the keeper', failed: () => {} });
      writer.handle(
        'follow',
        (devices) => new Promise((resolve) => asked.push({ devices, answer: () => resolve(undefined) })),
      );
      writers.push(writer);
      return port2;
    },
  });
  onTestFinished(() => stored.close());
  const nextAsked = async () => {
    await expect.poll(() => asked.length).toBeGreaterThan(0);
    return asked.shift() as (typeof asked)[number];
  };
  return { stored, writers, nextAsked };
}

it('a reader waits until the thread that writes knows what is followed', async () => {
  let followed: FollowedDevices = [];
  const { stored, nextAsked } = openWith(() => followed);
  const connecting = stored.connect();
  (await nextAsked()).answer();
  await connecting;
  followed = ['pump-1'];
  stored.followChanged();
  const order: string[] = [];
  const applied = stored.applied().then(() => order.push('applied'));
  const { devices, answer } = await nextAsked();
  order.push('answered');
  answer();
  await applied;
  expect([devices, order]).toEqual([['pump-1'], ['answered', 'applied']]);
});

it('the next thread that writes is told what is followed before anything is sent to it', async () => {
  const { stored, writers, nextAsked } = openWith(() => 'all');
  const connecting = stored.connect();
  (await nextAsked()).answer();
  await connecting;
  writers[0]?.close();
  let again = Promise.resolve();
  await expect
    .poll(() => {
      again = stored.connect();
      return writers.length;
    })
    .toBe(2);
  const order: string[] = [];
  const connected = again.then(() => order.push('connected'));
  const { devices, answer } = await nextAsked();
  order.push('answered');
  answer();
  await connected;
  expect([devices, order]).toEqual(['all', ['answered', 'connected']]);
});
