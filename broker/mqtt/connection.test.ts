/** A connection between a socket and an owner that the test plays: what is sent, in which order, and how it ends. */

import { afterEach, describe, expect, it, vi } from 'vitest';
import { connect, packet } from '../../test/fixtures/broker/packet-corpus.ts';
import { RecordingOwner } from '../../test/fixtures/broker/recording-owner.ts';
import { ScriptedSocket, turn } from '../../test/fixtures/broker/scripted-socket.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { PROPERTY_LIMITS } from './codec/packet-limits.ts';
import { MqttConnection } from './connection.ts';
import { PauseReason } from './receive-loop.ts';

afterEach(() => {
  vi.useRealTimers();
});

const publish = (id: number) => packet(0x32, Buffer.from([0, 1, 0x61, 0, id]));
const LAST = Buffer.from('e0018b', 'hex');

/** A connection after CONNECT, whose call is not recorded. */
function start(limits: { readonly outgoing?: number; readonly packet?: number } = {}) {
  const socket = new ScriptedSocket();
  const owner = new RecordingOwner();
  const connection = new MqttConnection(socket.asSocket, { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS, ...limits }, owner);
  socket.receive(connect('client-1'));
  owner.calls.length = 0;
  return { socket, owner, connection };
}

describe('a connection', () => {
  it('sends what is written in one turn as one piece, in the order of the calls', async () => {
    const { socket, connection } = start();
    connection.acknowledge(0x0102);
    connection.acknowledge(3);
    connection.send(Buffer.from('5002000a', 'hex'));
    connection.acknowledge(0xffff);
    connection.send(Buffer.from('d000', 'hex'));
    expect(socket.writes).toEqual([]);
    expect(connection.writableLength).toBe(18);
    await turn();
    expect(socket.writes.map((bytes) => bytes.toString('hex'))).toEqual([
      '40020102' + '40020003' + '5002000a' + '4002ffff' + 'd000',
    ]);
    expect(connection.writableLength).toBe(18);
    socket.taken();
    expect(connection.writableLength).toBe(0);
  });

  it('sends large amounts piece by piece in the order of the calls', async () => {
    const { socket, connection } = start();
    const large = Buffer.alloc(70_000, 1);
    connection.acknowledge(1);
    connection.send(large);
    connection.acknowledge(2);
    await turn();
    expect(Buffer.concat(socket.writes).equals(Buffer.concat([puback(1), large, puback(2)]))).toBe(true);
    expect(socket.writes).toContain(large);
  });

  it('sends again in the next turn', async () => {
    const { socket, connection } = start();
    for (const id of [1, 2]) {
      connection.acknowledge(id);
      await turn();
    }
    expect(socket.writes).toEqual([puback(1), puback(2)]);
  });

  it('does not read from a client that does not read', async () => {
    const { socket, connection } = start();
    connection.send(Buffer.alloc(100_000));
    await turn();
    socket.receive(publish(1));
    expect(socket.isPaused()).toBe(true);
    socket.taken();
    expect(socket.isPaused()).toBe(false);
  });

  it('reports that too many bytes wait to be sent', async () => {
    const { owner, connection } = start({ outgoing: 1_000, packet: 1_000 });
    connection.send(Buffer.alloc(3_000));
    await turn();
    expect(owner.calls).toEqual([]);
    connection.send(Buffer.alloc(1));
    await turn();
    expect(owner.calls).toEqual(['overflowed']);
  });

  it('tells the owner that is current', () => {
    const { socket, owner, connection } = start();
    const session = new RecordingOwner();
    connection.setOwner(session);
    socket.receive(publish(1));
    socket.destroy();
    expect([owner.calls, session.calls]).toEqual([[], ['publish 1', 'socket closed', 'read to end']]);
  });

  it('survives an error of its socket', () => {
    const { socket, owner } = start();
    socket.emit('error', new Error('reset'));
    expect(owner.calls).toEqual([]);
  });

  it('measures for how long the client has read nothing', async () => {
    const { socket, connection } = start();
    expect(connection.stalledFor(1_000)).toBe(0);
    connection.send(Buffer.alloc(10));
    await turn();
    expect(connection.stalledFor(2_000)).toBe(1_000);
    expect(connection.stalledFor(5_000)).toBe(4_000);
    socket.writableLength = 5; // some of it was
    expect(connection.stalledFor(6_000)).toBe(0);
    socket.taken();
    expect(connection.stalledFor(9_000)).toBe(0);
  });

  it('is not stalled at the first check', async () => {
    const { connection } = start();
    connection.send(Buffer.alloc(10));
    await turn();
    expect(connection.stalledFor(1_000_000)).toBe(0);
    expect(connection.stalledFor(1_000_005)).toBe(5);
  });
});

describe('a connection that the client closed', () => {
  it('processes what was received before, and only then reports the end', async () => {
    const { socket, owner, connection } = start();
    owner.room = 1;
    socket.receive(publish(1), publish(2));
    socket.destroy();
    expect(owner.calls).toEqual(['publish 1', 'socket closed']);
    expect(connection.isGone).toBe(true);
    owner.room = 1;
    connection.continueReading();
    await turn();
    expect(owner.calls).toEqual(['publish 1', 'socket closed', 'publish 2', 'read to end']);
  });

  it('processes nothing more after dropUnread()', async () => {
    const { socket, owner, connection } = start();
    owner.room = 1;
    socket.receive(publish(1), publish(2));
    socket.destroy();
    connection.dropUnread();
    owner.room = 1;
    connection.continueReading();
    await turn();
    expect(owner.calls).toEqual(['publish 1', 'socket closed']);
  });

  it('writes nothing to the socket', async () => {
    const { socket, connection } = start();
    connection.send(Buffer.from('late'));
    socket.destroy();
    connection.acknowledge(1);
    connection.send(Buffer.from('later'));
    await turn();
    expect([socket.writes, connection.writableLength]).toEqual([[], 0]);
  });
});

describe('terminate()', () => {
  it('closes at once: nothing that waits is processed or sent', async () => {
    const { socket, owner, connection } = start();
    owner.room = 1;
    socket.receive(publish(1), publish(2));
    connection.send(Buffer.from('late'));
    connection.terminate();
    owner.room = 10;
    connection.continueReading();
    await turn();
    expect(owner.calls).toEqual(['publish 1', 'socket closed', 'read to end']);
    expect([socket.writes, socket.destroyed, connection.isGone]).toEqual([[], true, true]);
  });

  it('sends the last packet only, and lets the client read it', async () => {
    const { socket, owner, connection } = start();
    connection.acknowledge(1);
    connection.pauseReading(PauseReason.storage);
    connection.terminate(LAST);
    expect([socket.written, socket.hasEnded, socket.destroyed]).toEqual([LAST.toString('hex'), true, false]);
    // Unread bytes would turn the end into a reset: they are read, and dropped.
    expect(socket.isPaused()).toBe(false);
    socket.receive(publish(1));
    connection.acknowledge(2);
    connection.send(Buffer.from('late'));
    await turn();
    expect([owner.calls, socket.written]).toEqual([[], LAST.toString('hex')]);
    socket.destroy();
    expect(owner.calls).toEqual(['socket closed', 'read to end']);
  });

  it('destroys the socket of a client that never reads the last packet', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { socket, connection } = start();
    connection.terminate(LAST);
    vi.advanceTimersByTime(1_999);
    expect(socket.destroyed).toBe(false);
    vi.advanceTimersByTime(1);
    expect(socket.destroyed).toBe(true);
  });

  it('within a handler ends the processing of the same chunk', () => {
    const { socket, owner, connection } = start();
    owner.onPublish = () => connection.terminate(LAST);
    socket.receive(publish(1), Buffer.from([0, 0]));
    expect(owner.calls).toEqual(['publish 1']);
  });

  it('does nothing a second time, nor after the connection was ended', () => {
    const { socket, connection } = start();
    connection.terminate(LAST);
    connection.terminate();
    connection.end(LAST);
    expect([socket.written, socket.destroyed]).toEqual([LAST.toString('hex'), false]);
  });
});

describe('end()', () => {
  it('sends what waits, then the last packet', () => {
    const { socket, connection } = start();
    connection.acknowledge(1);
    connection.end(LAST);
    expect([socket.written, socket.hasEnded, socket.destroyed]).toEqual([
      `40020001${LAST.toString('hex')}`,
      true,
      false,
    ]);
  });

  it('destroys a socket with nothing to be sent at once', () => {
    const { socket, owner, connection } = start();
    connection.end();
    expect([socket.destroyed, owner.calls]).toEqual([true, ['socket closed', 'read to end']]);
  });

  it('without a last packet closes when what waits is sent, or after two seconds', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const { socket, connection } = start();
    connection.acknowledge(1);
    connection.end();
    expect([socket.written, socket.hasEnded, socket.destroyed]).toEqual(['40020001', true, false]);
    vi.advanceTimersByTime(2_000);
    expect(socket.destroyed).toBe(true);
  });

  it('passes nothing more to the owner', async () => {
    const { socket, owner, connection } = start();
    owner.room = 0;
    socket.receive(publish(1));
    connection.end(LAST);
    owner.room = 10;
    connection.continueReading();
    socket.receive(publish(2));
    await turn();
    expect(owner.calls).toEqual([]);
  });
});

function puback(id: number): Buffer {
  return Buffer.from([0x40, 2, 0, id]);
}
