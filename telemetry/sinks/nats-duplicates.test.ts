/** What is sent again to NATS after its acknowledgements were lost, when the stream has long forgotten the ids. */

import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Socket } from 'node:net';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection, nanos } from '@nats-io/transport-node';
import type { DeviceId } from '@rollcall/protocol';
import { expect, it, onTestFinished } from 'vitest';
import { countOf, JOURNAL_BEGIN, openTestJournal } from '../../test/fixtures/journal.ts';
import { type NatsServer, natsServer } from '../../test/fixtures/nats-server.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { Cursor } from '../cursor.ts';
import { NatsTarget } from './nats-target.ts';

/** The shortest that the server allows. */
const SHORTEST_WINDOW_MS = 100;

/** A way to the server on which answers can be lost while everything that is sent arrives. */
interface Link {
  readonly port: number;
  /** From now on no answer comes back to a connection that has published. */
  loseAnswers(): void;
  /** Cuts every connection; new ones are whole. */
  cut(): void;
}

async function linkTo(server: NatsServer): Promise<Link> {
  let isLosing = false;
  const sockets = new Set<Socket>();
  const proxy = createServer((near) => {
    const far = createConnection(server.port, '127.0.0.1');
    let hasPublished = false;
    near.on('data', (bytes) => {
      if (bytes.includes('HPUB rollcall.')) hasPublished = true;
      far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (!(isLosing && hasPublished)) near.write(bytes);
    });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on('error', () => {}).on('close', () => other.destroy());
    }
  }).listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const loseAnswers = () => {
    isLosing = true;
  };
  const cut = () => {
    isLosing = false;
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  onTestFinished(() => {
    cut();
    proxy.close();
  });
  return { port: (proxy.address() as AddressInfo).port, loseAnswers, cut };
}

const targetAt = (port: number) =>
  new NatsTarget({
    ...{ server: `127.0.0.1:${port}`, tls: 'none', stream: 'ROLLCALL', subject: 'rollcall', source: 'telemetry' },
    timeout: 20_000,
  });

/** A stream that forgets ids at once, and who looks into it. */
async function forgetfulStream(server: NatsServer): Promise<NatsConnection> {
  const connection = await connect({ servers: `127.0.0.1:${server.port}` });
  onTestFinished(() => connection.close());
  const manager = await jetstreamManager(connection);
  const duplicate_window = nanos(SHORTEST_WINDOW_MS);
  await manager.streams.add({ name: 'ROLLCALL', subjects: ['rollcall.>', 'probe'], duplicate_window });
  return connection;
}

async function heldBy(connection: NatsConnection): Promise<readonly (readonly [subject: string, count: number])[]> {
  const { state } = await (await jetstreamManager(connection)).streams.info('ROLLCALL', {
    subjects_filter: 'rollcall.>',
  });
  const wanted = Object.values(state.subjects ?? {}).reduce((sum, count) => sum + count, 0);
  const held: [string, number][] = [];
  const consumer = await jetstream(connection).consumers.get('ROLLCALL', { filter_subjects: 'rollcall.>' });
  if (wanted > 0) {
    for await (const message of await consumer.fetch({ max_messages: wanted })) {
      held.push([message.subject, countOf(message.data)]);
    }
  }
  return held;
}

async function untilHeld(connection: NatsConnection, count: number): Promise<void> {
  while ((await heldBy(connection)).length < count) await new Promise((resolve) => setTimeout(resolve, 2)); // its own pace
}

/** Ids go in the order in which they came: when this one is forgotten, so are all before it. */
async function untilForgotten(connection: NatsConnection): Promise<void> {
  const client = jetstream(connection);
  await client.publish('probe', '', { msgID: 'probe' });
  while ((await client.publish('probe', '', { msgID: 'probe' })).duplicate) {
    await new Promise((resolve) => setTimeout(resolve, 10)); // the server's clock, not ours
  }
}

const counts = (held: Awaited<ReturnType<typeof heldBy>>, device: string) =>
  held.filter(([subject]) => subject === `rollcall.telemetry.${device}.climate`).map(([, count]) => count);
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

describeWithClients('a batch that is sent to NATS a second time', ['nats-server'], () => {
  it('arrives once, though its acknowledgements were lost longer ago than the stream remembers', async () => {
    const server = await natsServer(temporaryDirectory());
    const stream = await forgetfulStream(server);
    const link = await linkTo(server);
    const journal = await openTestJournal();
    await journal.fill(['a', 'b.1'], 10);
    const sink = await startSink({ journal, target: targetAt(link.port), directory: temporaryDirectory() });
    await sink.caughtUp();

    link.loseAnswers();
    await journal.fill(['a', 'b.1'], 10, 10);
    // One of each device is on its way at a time, and waits for the acknowledgement that is lost.
    await untilHeld(stream, 22);
    await untilForgotten(stream);
    link.cut();
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 40, deadLettered: 0 });
    const held = await heldBy(stream);
    for (const device of ['a', 'b%2E1']) expect(counts(held, device)).toEqual(upTo(20));
  });

  it('arrives once after a process of ours ended before it noted the position', async () => {
    const server = await natsServer(temporaryDirectory());
    const stream = await forgetfulStream(server);
    const journal = await openTestJournal();
    await journal.fill(['a'], 40);
    for (let life = 0; life < 2; life += 1) {
      const directory = temporaryDirectory(); // the position is lost
      const sink = await startSink({ journal, target: targetAt(server.port), directory, batch: 50 });
      expect(await sink.caughtUp()).toMatchObject({ forwarded: 40 });
      await sink.forwarder.close(1000);
      await untilForgotten(stream);
    }
    expect(counts(await heldBy(stream), 'a')).toEqual(upTo(40));
  });

  it('arrives again when an operator wants it forwarded again', async () => {
    const server = await natsServer(temporaryDirectory());
    const stream = await forgetfulStream(server);
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    const sink = await startSink({ journal, target: targetAt(server.port), directory: temporaryDirectory() });
    await sink.caughtUp();
    await untilForgotten(stream);
    await sink.forwarder.replay(Cursor.BEGIN);
    await sink.until(({ forwarded, state }) => forwarded === 10 && state === 'idle');
    expect(counts(await heldBy(stream), 'a')).toEqual([...upTo(5), ...upTo(5)]);
  });

  it('is not taken for what another journal left under the same subject', async () => {
    const server = await natsServer(temporaryDirectory());
    const stream = await forgetfulStream(server);
    for (const later of [0, 60_000]) {
      const journal = await openTestJournal();
      for (const count of upTo(5)) {
        const payload = Buffer.from(JSON.stringify({ count }));
        const receivedAt = JOURNAL_BEGIN + later + count;
        await journal.accept({ device: 'a' as DeviceId, stream: 'climate', receivedAt, qos: 1, payload });
      }
      const target = targetAt(server.port);
      await (await startSink({ journal, target, directory: temporaryDirectory() })).caughtUp();
      await untilForgotten(stream);
    }
    expect(counts(await heldBy(stream), 'a')).toEqual([...upTo(5), ...upTo(5)]);
  });
});
