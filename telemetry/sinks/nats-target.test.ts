import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type MsgHdrs, nkeys } from '@nats-io/transport-node';
import type { DeviceId } from '@rollcall/protocol';
import { expect, it } from 'vitest';
import { HOSTILE_TEXT } from '../../test/behaviour/telemetry-properties.ts';
import { countOf, openTestJournal } from '../../test/fixtures/journal.ts';
import { type NatsServer, natsServer } from '../../test/fixtures/nats-server.ts';
import { describeWithClients } from '../../test/fixtures/real-client.ts';
import { ScriptedTarget, startSink } from '../../test/fixtures/sink.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';
import { positionOf } from '../position.ts';
import { NatsTarget, type NatsTargetOptions } from './nats-target.ts';

function targetOf(port: number, options: Partial<NatsTargetOptions> = {}): NatsTarget {
  return new NatsTarget({
    server: `127.0.0.1:${port}`,
    tls: 'none',
    stream: 'ROLLCALL',
    subject: 'rollcall',
    source: 'telemetry',
    timeout: 5_000,
    ...options,
  });
}

interface Held {
  readonly subject: string;
  readonly position: number;
  readonly count: number;
  readonly id: string;
  readonly headers: MsgHdrs | undefined;
}

/** Everything that the stream holds, in its order. */
async function heldBy(server: NatsServer, credentials: { readonly user?: string; readonly pass?: string } = {}) {
  const connection = await connect({ servers: `127.0.0.1:${server.port}`, reconnect: false, ...credentials });
  const held: Held[] = [];
  const info = await (await jetstreamManager(connection)).streams.info('ROLLCALL');
  if (info.state.messages > 0) {
    const consumer = await jetstream(connection).consumers.get('ROLLCALL');
    for await (const message of await consumer.fetch({ max_messages: info.state.messages })) {
      held.push({
        subject: message.subject,
        position: Number(message.headers?.get('Rollcall-Position')),
        count: countOf(message.data),
        id: String(message.headers?.get('Nats-Msg-Id')),
        headers: message.headers,
      });
    }
  }
  await connection.close();
  return held;
}

function expectInOrder(held: readonly Held[], subject: string, count: number): void {
  const counts = held.filter((one) => one.subject === subject).map((one) => one.count);
  expect(counts).toEqual(Array.from({ length: count }, (_, index) => index));
}

describeWithClients('a JetStream stream as target', ['nats-server'], () => {
  it('is made when there is none, and holds each message under the subject of its device and stream', async () => {
    const server = await natsServer(temporaryDirectory());
    const journal = await openTestJournal();
    await journal.fill(['dev-1', 'dev.2'], 40);
    const sink = await startSink({ journal, target: targetOf(server.port), directory: temporaryDirectory() });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 80, retries: 0 });
    const held = await heldBy(server);
    expect(held).toHaveLength(80);
    expectInOrder(held, 'rollcall.telemetry.dev-1.climate', 40);
    expectInOrder(held, 'rollcall.telemetry.dev%2E2.climate', 40);
    expect(held[0]?.id).toBe('telemetry-1893456000001-1');
  });

  it('holds MQTT 5 properties as headers: any text in percent encoding, user properties in their order', async () => {
    const server = await natsServer(temporaryDirectory());
    const journal = await openTestJournal();
    const sent = { device: 'a' as DeviceId, stream: 's', receivedAt: 0, qos: 1, payload: Buffer.from('1') } as const;
    const userProperties = [
      ['unit', ' °C '],
      ['a=b', HOSTILE_TEXT],
      ['unit', ''],
      ['', ''],
    ] as const;
    const types = ['text/plain; charset=utf-8', 'a\r\nNats-Msg-Id: 1', ''];
    for (const contentType of types) {
      await journal.accept({ ...sent, contentType, payloadFormatIndicator: 1, userProperties });
    }
    await journal.accept(sent);
    const sink = await startSink({ journal, target: targetOf(server.port), directory: temporaryDirectory() });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 4, retries: 0, deadLettered: 0 });
    const headers = (await heldBy(server)).map((held) => held.headers);
    expect(headers.map((one) => one?.get('Content-Type'))).toEqual([types[0], '', '', '']);
    expect(headers.map((one) => decodeURIComponent(one?.get('Rollcall-Content-Type') ?? ''))).toEqual([
      '',
      types[1],
      '',
      '',
    ]);
    expect(headers.map((one) => one?.has('Rollcall-Content-Type'))).toEqual([false, true, true, false]);
    expect(headers.map((one) => one?.get('Rollcall-Payload-Format'))).toEqual(['1', '1', '1', '']);
    const read = headers.map((one) =>
      one?.values('Rollcall-User-Property').map((line) => line.split('=').map(decodeURIComponent)),
    );
    expect(read).toEqual([userProperties, userProperties, userProperties, []]);
    expect(headers.every((one) => one?.get('Nats-Msg-Id').startsWith('telemetry-0-'))).toBe(true);
  });

  it('may be away at the start, be killed in the middle and come back: nothing lost, twice or out of order', async () => {
    const directory = temporaryDirectory();
    const server = await natsServer(directory);
    await server.kill();
    const journal = await openTestJournal();
    await journal.fill(['a', 'b', 'c'], 400);
    const sink = await startSink({
      journal,
      target: targetOf(server.port),
      directory: temporaryDirectory(),
      batch: 30,
    });
    await sink.until(({ state }) => state === 'down');
    await server.start();
    await sink.until(({ position }) => position >= 200);
    await server.kill();
    await journal.fill(['a', 'b', 'c'], 20, 400);
    await sink.until(({ state }) => state === 'down');
    await server.start();
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 1260, deadLettered: 0, position: 1260 });
    const held = await heldBy(server);
    expect(held).toHaveLength(1260);
    for (const device of ['a', 'b', 'c']) expectInOrder(held, `rollcall.telemetry.${device}.climate`, 420);
  });

  it('drops what is forwarded a second time, after a crash of ours', async () => {
    const server = await natsServer(temporaryDirectory());
    const journal = await openTestJournal();
    await journal.fill(['a', 'b'], 50);
    for (let life = 0; life < 3; life += 1) {
      const directory = temporaryDirectory(); // the cursor is lost each time: as many repetitions as there can be
      const sink = await startSink({ journal, target: targetOf(server.port), directory });
      expect(await sink.caughtUp()).toMatchObject({ forwarded: 100 });
      await sink.forwarder.close(1000);
    }
    expect(await heldBy(server)).toHaveLength(100);
  });

  it('may refuse one message for good, which is put aside', async () => {
    const server = await natsServer(temporaryDirectory());
    const connection = await connect({ servers: `127.0.0.1:${server.port}`, reconnect: false });
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: 'ROLLCALL', subjects: ['rollcall.>'], max_msg_size: 1000 });
    await connection.close();
    const journal = await openTestJournal();
    await journal.fill(['a'], 5);
    const large = Buffer.from(JSON.stringify({ count: 5, text: 'x'.repeat(2000) }));
    await journal.accept({ device: 'a' as never, stream: 'climate', receivedAt: 9, qos: 1, payload: large });
    const huge = Buffer.from(JSON.stringify({ count: 6, text: 'x'.repeat(1_100_000) }));
    await journal.accept({ device: 'a' as never, stream: 'climate', receivedAt: 9, qos: 1, payload: huge });
    await journal.fill(['a'], 5, 7);
    const sink = await startSink({
      journal,
      target: targetOf(server.port),
      directory: temporaryDirectory(),
      deadLetterBytes: 4_000_000,
    });
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 10, deadLettered: 2 });
    expect(sink.deadLetters().map(({ reason, message }) => [message.position, reason])).toEqual([
      [6, expect.stringMatching(/message size exceeds maximum/)],
      [7, expect.stringMatching(/^expected at most 1048576 bytes/)],
    ]);
    expect((await heldBy(server)).map(({ count }) => count)).toEqual([0, 1, 2, 3, 4, 7, 8, 9, 10, 11]);
  });

  it('that lets nobody in without a password says so, and takes everything with it', async () => {
    const server = await natsServer(temporaryDirectory(), ['--user', 'rollcall', '--pass', 'sesame']);
    const journal = await openTestJournal();
    await journal.fill(['a'], 10);
    let password = 'wrong';
    const target = targetOf(server.port, { user: 'rollcall', password: () => password });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    const { reason } = await sink.until(({ state }) => state === 'down');
    expect(reason).toMatch(/authorization/i);
    expect(reason).not.toContain('wrong');
    password = 'sesame'; // it is read anew at each connection
    await sink.caughtUp();
    expect(await heldBy(server, { user: 'rollcall', pass: 'sesame' })).toHaveLength(10);
  });

  it('knows an nkey by its file alone', async () => {
    const directory = temporaryDirectory();
    const user = nkeys.createUser();
    const file = join(directory, 'nats.conf');
    writeFileSync(file, `authorization { users: [ { nkey: ${user.getPublicKey()} } ] }`);
    const server = await natsServer(directory, ['-c', file]);
    const journal = await openTestJournal();
    await journal.fill(['a'], 10);
    const stranger = nkeys.createUser().getSeed();
    let seed = stranger;
    const target = targetOf(server.port, { nkey: () => new TextDecoder().decode(seed) });
    const sink = await startSink({ journal, target, directory: temporaryDirectory() });
    const { reason } = await sink.until(({ state }) => state === 'down');
    expect(reason).toMatch(/authorization/i);
    expect(reason).not.toContain(new TextDecoder().decode(stranger));
    seed = user.getSeed();
    expect(await sink.caughtUp()).toMatchObject({ forwarded: 10 });
  });

  it('lets the event loop turn many times while a large batch goes out', async () => {
    const server = await natsServer(temporaryDirectory());
    const target = targetOf(server.port);
    const { signal } = new AbortController();
    let inThisTurn = new Set<number>();
    let most = 0;
    const batch = (from: number) =>
      Array.from({ length: 300 }, (_, index) => {
        const position = from + index;
        const about = {
          position: positionOf(position),
          device: `dev-${index}` as DeviceId,
          stream: 's',
          receivedAt: position,
          qos: 1,
        } as const;
        return {
          ...about,
          get payload() {
            most = Math.max(most, inThisTurn.add(position).size);
            return Buffer.from('1');
          },
        };
      });
    await target.deliver(batch(1), signal); // the first is looked for in the stream, all at once
    inThisTurn = new Set();
    most = 0;
    const begin = () => {
      inThisTurn = new Set();
      turning = setImmediate(begin);
    };
    let turning = setImmediate(begin);
    expect(await target.deliver(batch(1000), signal)).toEqual([]);
    clearImmediate(turning);
    await target.close();
    expect(most).toBeGreaterThan(0);
    // Two turns of its own may fall between two of ours.
    expect(most).toBeLessThanOrEqual(64);
  });

  it('that is slow gets at most one message of a device at a time', async () => {
    const server = await natsServer(temporaryDirectory());
    const journal = await openTestJournal();
    await journal.fill(['a', 'b'], 30);
    const real = targetOf(server.port);
    const slow = new ScriptedTarget();
    slow.answer = async (messages) => {
      await new Promise((resolve) => setImmediate(resolve));
      return real.deliver(messages, new AbortController().signal);
    };
    const sink = await startSink({ journal, target: slow, directory: temporaryDirectory(), batch: 20 });
    await sink.caughtUp();
    await real.close();
    const held = await heldBy(server);
    for (const device of ['a', 'b']) expectInOrder(held, `rollcall.telemetry.${device}.climate`, 30);
  });
});
