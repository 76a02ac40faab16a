/** A connection between a socket and an engine that the test plays. */

import { EventEmitter } from 'node:events';
import type { TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { connect, packet } from '../../test/fixtures/broker/packet-corpus.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { type ConnectionOwner, MqttConnection } from './connection.ts';
import { type EngineInput, PauseReason, type PublishFastPath } from './receive-loop.ts';

/** A socket whose other end reads only when told to. */
class ScriptedSocket extends EventEmitter {
  writableLength = 0;
  writes: Buffer[] = [];
  destroyed = false;
  #isPaused = false;

  write(bytes: Buffer): boolean {
    this.writes.push(bytes);
    this.writableLength += bytes.length;
    return false;
  }

  taken(): void {
    this.writableLength = 0;
    this.emit('drain');
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
  }

  isPaused(): boolean {
    return this.#isPaused;
  }

  cork(): void {}
  uncork(): void {}
  end(): void {}

  destroySoon(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
}

function start({ limits = {} }: { readonly limits?: Partial<typeof DEFAULT_LIMITS> } = {}) {
  const socket = new ScriptedSocket();
  const steps: string[] = [];
  const told: string[] = [];
  let pending = 0;
  const owner: ConnectionOwner = {
    connectReceived: () => told.push('connect'),
    protocolViolated: ({ clause }) => told.push(clause),
    packetReceived: () => true,
    sendBufferOverflowed: () => told.push('overflowed'),
    failed: () => told.push('failed'),
    socketClosed: () => told.push('socket closed'),
    engineFailed: () => told.push('engine failed'),
    engineFinished: () => told.push('engine finished'),
  };
  const connection = new MqttConnection(socket as unknown as TLSSocket, { ...DEFAULT_LIMITS, ...limits }, owner);
  const take = (step: Buffer) => {
    steps.push(step.toString('hex'));
    pending += 1;
  };
  const engine: EngineInput = { close: () => told.push('engine closed'), feed: take, packetsInProgress: () => pending };
  /** As aedes does it: asks when it is told, and again when it is done with all it has. */
  const ask = () => {
    const step = connection.read();
    if (step !== null) take(step);
  };
  const done = () => {
    pending = 0;
    ask();
  };
  const open = (fastPath?: PublishFastPath) => {
    socket.emit('data', connect('client-1'));
    connection.on('readable', ask);
    connection.startEngine(() => engine, fastPath);
    done();
    connection.connectFinished();
    steps.length = 0;
  };
  return { socket, connection, steps, told, done, open };
}

const publish = (n: number, qos: 0 | 1 | 2 = 1) =>
  packet(0x30 | (qos << 1), Buffer.from([0, 1, 0x61]), ...(qos > 0 ? [Buffer.from([0, n])] : []));
/** What was written in one turn leaves at its end. */
const turn = () => new Promise<void>((resolve) => process.nextTick(resolve));
const hex = (...bytes: Buffer[]) => Buffer.concat(bytes).toString('hex');
const pingreq = Buffer.from([0xc0, 0]);
const disconnect = Buffer.from([0xe0, 0]);

describe('a connection', () => {
  it('passes only CONNECT before the engine has processed it', () => {
    const { socket, connection, steps, done } = start();
    socket.emit('data', Buffer.concat([connect('client-1'), publish(1)]));
    connection.on('readable', () => {
      const step = connection.read();
      if (step !== null) steps.push(step.toString('hex'));
    });
    connection.startEngine(() => ({ close() {}, feed() {}, packetsInProgress: () => 0 }));
    expect(steps).toEqual([hex(connect('client-1'))]);
    done();
    expect(steps).toHaveLength(1);
    connection.connectFinished();
    expect(steps.at(-1)).toBe(hex(publish(1)));
  });

  it('puts packets that may be processed concurrently into one batch, and others into batches of their own', () => {
    const { socket, steps, done, open } = start();
    open();
    socket.emit(
      'data',
      Buffer.concat([publish(1), publish(2, 0), pingreq, publish(3, 2), publish(4, 2), publish(5), disconnect]),
    );
    for (let n = 0; n < 8; n += 1) done();
    expect(steps).toEqual([
      hex(publish(1), publish(2, 0), pingreq),
      hex(publish(3, 2)),
      hex(publish(4, 2)),
      hex(publish(5)),
      hex(disconnect),
    ]);
  });

  it('adds concurrent packets to those in progress, up to the limit, but nothing else', () => {
    const { socket, steps, open } = start({ limits: { inflight: 3 } });
    open();
    for (let n = 1; n <= 5; n += 1) socket.emit('data', publish(n));
    expect(steps).toEqual([1, 2, 3].map((n) => hex(publish(n))));
    const other = start();
    other.open();
    other.socket.emit('data', publish(1));
    other.socket.emit('data', publish(2, 2));
    other.socket.emit('data', publish(3));
    expect(other.steps).toEqual([hex(publish(1))]);
    other.done();
    expect(other.steps).toEqual([hex(publish(1)), hex(publish(2, 2))]);
  });

  it('does not read from a client that does not read', async () => {
    const { socket, connection, open } = start();
    open();
    connection.write(Buffer.alloc(100_000));
    await turn();
    socket.emit('data', pingreq);
    expect(socket.isPaused()).toBe(true);
    socket.taken();
    expect(socket.isPaused()).toBe(false);
  });

  it('does not read ahead of an engine that is busy', () => {
    const { socket, done, open } = start();
    open();
    const large = packet(0x34, Buffer.from([0, 1, 0x61, 0, 1]), Buffer.alloc(50_000));
    socket.emit('data', large);
    socket.emit('data', large);
    expect(socket.isPaused()).toBe(false);
    socket.emit('data', large);
    expect(socket.isPaused()).toBe(true);
    done();
    expect(socket.isPaused()).toBe(false);
  });

  it('sends what is written in one turn as one piece', async () => {
    const { socket, connection, open } = start();
    open();
    for (const byte of [1, 2, 3]) connection.write(Buffer.from([byte]));
    connection.write('four');
    expect(socket.writes).toEqual([]);
    await turn();
    expect(socket.writes).toEqual([Buffer.concat([Buffer.from([1, 2, 3]), Buffer.from('four')])]);
  });

  it('measures for how long the client has read nothing', async () => {
    const { socket, connection, open } = start();
    open();
    expect(connection.stalledFor(1_000)).toBe(0);
    connection.write(Buffer.alloc(10));
    await turn();
    expect(connection.stalledFor(2_000)).toBe(1_000);
    expect(connection.stalledFor(5_000)).toBe(4_000);
    socket.writableLength = 5; // some of it was
    expect(connection.stalledFor(6_000)).toBe(0);
    socket.taken();
    expect(connection.stalledFor(9_000)).toBe(0);
  });

  it('is not stalled at the first check', async () => {
    const { connection, open } = start();
    open();
    connection.write(Buffer.alloc(10));
    await turn();
    expect(connection.stalledFor(1_000_000)).toBe(0);
    expect(connection.stalledFor(1_000_005)).toBe(5);
  });

  it('lets the engine finish what was received before the connection was lost', () => {
    const { socket, told, done, open } = start();
    open();
    socket.emit('data', Buffer.concat([publish(1), publish(2, 2)]));
    socket.destroy();
    expect(told).toEqual(['connect', 'socket closed']);
    done();
    expect(told).not.toContain('engine closed');
    done();
    expect(told).toContain('engine closed');
  });

  it('that is terminated passes nothing more to the engine and sends nothing more', async () => {
    const { socket, connection, steps, told, done, open } = start();
    open();
    socket.emit('data', Buffer.concat([publish(1), publish(2, 2)]));
    connection.write(Buffer.from('late'));
    connection.terminate();
    await turn();
    done();
    expect(steps).toEqual([hex(publish(1))]);
    expect(socket.writes).toEqual([]);
    expect(socket.destroyed).toBe(true);
    expect(told.filter((text) => text === 'engine closed')).toHaveLength(1);
  });

  it('waits until the engine has finished with CONNECT before it closes it', () => {
    const { socket, connection, told } = start();
    socket.emit('data', connect('client-1'));
    connection.on('readable', () => connection.read());
    connection.startEngine(() => ({ close: () => told.push('engine closed'), feed() {}, packetsInProgress: () => 1 }));
    connection.terminate();
    expect(told).not.toContain('engine closed');
    connection.connectFinished();
    expect(told).toContain('engine closed');
  });

  it('reports that too many bytes wait to be sent', async () => {
    const { connection, told, open } = start({ limits: { outgoing: 1_000, packet: 1_000 } });
    open();
    connection.write(Buffer.alloc(3_001));
    await turn();
    expect(told).toContain('overflowed');
  });

  describe('with a fast path', () => {
    /** A fast path that takes a number of QoS 1 messages, until the test makes space again. */
    function withLane(room: number) {
      const { socket, connection, steps, told, done, open } = start();
      const taken: number[] = [];
      let left = room;
      open({
        take({ qos, packetId }) {
          if (qos !== 1) return false;
          taken.push(packetId);
          left -= 1;
          return true;
        },
        isFull: () => left <= 0,
        isEmpty: () => left === room,
      });
      const free = async () => {
        left = room;
        connection.continueReading();
        await turn();
      };
      return { socket, connection, steps, told, done, taken, free };
    }

    it('passes to the engine what the fast path leaves, and nothing to the fast path while that waits', async () => {
      const { socket, steps, taken, free, done } = withLane(10);
      const subscribe = packet(0x82, Buffer.from([0, 9, 0, 1, 0x61, 0]));
      socket.emit('data', Buffer.concat([publish(1), subscribe, publish(2)]));
      socket.emit('data', publish(3));
      expect([taken, steps]).toEqual([[1], []]); // in its place: behind the first message
      await free();
      expect([taken, steps]).toEqual([[1], [hex(subscribe)]]);
      done();
      expect(steps).toEqual([hex(subscribe), hex(publish(2))]);
      socket.emit('data', publish(4)); // the engine works on messages only: the fast path may overtake them
      expect(taken).toEqual([1]); // but not one that is still waiting
      done();
      done();
      socket.emit('data', publish(5));
      expect(taken).toEqual([1, 5]);
    });

    it('reads only while the fast path has room, and continues when it has room again', async () => {
      const { socket, steps, taken, free, done } = withLane(2);
      socket.emit('data', Buffer.concat([publish(1), publish(2), publish(3), pingreq, publish(4), publish(5)]));
      expect([taken, socket.isPaused()]).toEqual([[1, 2], true]);
      await free();
      expect([taken, steps, socket.isPaused()]).toEqual([[1, 2, 3], [hex(pingreq, publish(4), publish(5))], false]);
      done();
      socket.emit('data', publish(6));
      expect(taken).toEqual([1, 2, 3, 6]);
    });

    it('processes everything received before the end, however long it has to wait', async () => {
      const { socket, told, taken, free } = withLane(1);
      socket.emit('data', Buffer.concat([publish(1), publish(2)]));
      socket.destroy();
      expect(told).not.toContain('engine closed');
      await free();
      expect([taken, told.includes('engine closed')]).toEqual([[1, 2], true]);
    });

    it('keeps the order of what both send, in one piece per turn', async () => {
      const { socket, connection } = withLane(1);
      connection.acknowledge(0x0102);
      connection.acknowledge(3);
      connection.write(Buffer.from('4003', 'hex'));
      connection.acknowledge(0xffff);
      await turn();
      expect(socket.writes.map((bytes) => bytes.toString('hex'))).toEqual(['40020102400200034003' + '4002ffff']);
    });

    it('does not read for as long as there is a reason not to', () => {
      const { socket, connection, taken } = withLane(9);
      connection.pauseReading(PauseReason.storage);
      connection.pauseReading(PauseReason.rate);
      socket.emit('data', publish(1)); // it was on its way
      connection.resumeReading(PauseReason.rate);
      expect([taken, connection.isReadingPaused]).toEqual([[], true]);
    });
  });
});
