/** What is read from a client, when, and what is still processed after its socket closed. */

import { describe, expect, it } from 'vitest';
import { connect, packet } from '../../test/fixtures/broker/packet-corpus.ts';
import { RecordingOwner } from '../../test/fixtures/broker/recording-owner.ts';
import { ScriptedSocket, turn } from '../../test/fixtures/broker/scripted-socket.ts';
import { DEFAULT_LIMITS } from '../broker-limits.ts';
import { PROPERTY_LIMITS } from './codec/packet-limits.ts';
import { PauseReason, ReceiveLoop } from './receive-loop.ts';

const publish = (id: number) => packet(0x32, Buffer.from([0, 1, 0x61, 0, id]));
const pingreq = Buffer.from([0xc0, 0]);
const reserved = Buffer.from([0x00, 0]);

/** A loop after CONNECT, whose call is not recorded. */
function start() {
  const socket = new ScriptedSocket();
  const owner = new RecordingOwner();
  const loop = new ReceiveLoop(socket.asSocket, { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS }, owner);
  loop.received(connect('client-1'));
  owner.calls.length = 0;
  return { socket, owner, loop };
}

describe('the receive loop', () => {
  it('passes the packets of one chunk in order, and completes one that comes in pieces', () => {
    const { owner, loop } = start();
    const bytes = Buffer.concat([publish(1), pingreq, publish(2)]);
    loop.received(bytes.subarray(0, 3));
    expect(owner.calls).toEqual([]);
    loop.received(bytes.subarray(3));
    expect(owner.calls).toEqual(['publish 1', 'pingreq', 'publish 2']);
  });

  it('knows the version of the client after CONNECT', () => {
    const loop = new ReceiveLoop(
      new ScriptedSocket().asSocket,
      { ...DEFAULT_LIMITS, ...PROPERTY_LIMITS },
      new RecordingOwner(),
    );
    expect(loop.version).toBeUndefined();
    loop.received(connect('client-1'));
    expect(loop.version).toBe(4);
  });

  it('does not read while packets wait that the owner does not accept, and continues with them in order', async () => {
    const { socket, owner, loop } = start();
    owner.room = 2;
    loop.received(Buffer.concat([publish(1), publish(2), publish(3), pingreq]));
    expect([owner.calls, socket.isPaused()]).toEqual([['publish 1', 'publish 2'], true]);
    loop.received(publish(4)); // it was on its way
    expect(owner.calls).toHaveLength(2);
    owner.room = 10;
    loop.continueReading();
    expect(owner.calls).toHaveLength(2); // not within the call of the owner
    await turn();
    expect(owner.calls.slice(2)).toEqual(['publish 3', 'pingreq', 'publish 4']);
    expect(socket.isPaused()).toBe(false);
  });

  it('continues once, however often it is told in one turn', async () => {
    const { owner, loop } = start();
    owner.room = 0;
    loop.received(Buffer.concat([publish(1), publish(2)]));
    owner.room = 1;
    for (let n = 0; n < 3; n += 1) loop.continueReading();
    await turn();
    await turn();
    expect(owner.calls).toEqual(['publish 1']);
  });

  it('passes what is left to the owner that replaced the first one', async () => {
    const { owner, loop } = start();
    owner.room = 0;
    loop.received(publish(1));
    const session = new RecordingOwner();
    loop.setOwner(session);
    loop.continueReading();
    await turn();
    expect([owner.calls, session.calls]).toEqual([[], ['publish 1']]);
  });

  it('does not read for as long as there is a reason not to', () => {
    const { socket, loop } = start();
    loop.pause(PauseReason.storage);
    loop.pause(PauseReason.rate);
    loop.resume(PauseReason.rate);
    expect(socket.isPaused()).toBe(true);
    expect([loop.isPausedFor(PauseReason.storage), loop.isPausedFor(PauseReason.rate)]).toEqual([true, false]);
    expect(loop.readingResumedAt).toBe(0);
    loop.updateReading();
    expect([socket.isPaused(), loop.isReadingPaused]).toEqual([true, true]);
    loop.resume(PauseReason.storage);
    expect([socket.isPaused(), loop.isReadingPaused]).toEqual([false, false]);
    expect(loop.readingResumedAt).toBeGreaterThan(0);
  });

  it('stays paused when a reason ends while packets wait', async () => {
    const { socket, owner, loop } = start();
    owner.room = 0;
    loop.received(publish(1));
    loop.pause(PauseReason.shutdown);
    loop.resume(PauseReason.shutdown);
    expect(socket.isPaused()).toBe(true);
    await turn();
    expect([owner.calls, socket.isPaused()]).toEqual([[], true]);
  });

  it('does not read from a client that leaves more than 64 KiB unread', () => {
    const { socket, loop } = start();
    socket.writableLength = 64 * 1024;
    loop.updateReading();
    expect(socket.isPaused()).toBe(false);
    socket.writableLength += 1;
    loop.updateReading();
    expect(socket.isPaused()).toBe(true);
    socket.writableLength = 0;
    loop.updateReading();
    expect(socket.isPaused()).toBe(false);
  });

  it('reports a violation after the packets before it, and passes nothing after it', () => {
    const { owner, loop } = start();
    loop.received(Buffer.concat([publish(1), reserved, publish(2)]));
    expect(owner.calls).toEqual(['publish 1', expect.stringMatching(/^violation /)]);
  });

  it('reports a violation behind packets that had to wait', async () => {
    const { owner, loop } = start();
    owner.room = 0;
    loop.received(Buffer.concat([publish(1), reserved]));
    expect(owner.calls).toEqual([]);
    owner.room = 10;
    loop.continueReading();
    await turn();
    expect(owner.calls).toEqual(['publish 1', expect.stringMatching(/^violation /)]);
  });

  it('reports an error of a handler, at once or later, and lives on', async () => {
    const { owner, loop } = start();
    owner.onPublish = (id) => {
      throw new Error(`no ${id}`);
    };
    loop.received(publish(1));
    owner.room = 0;
    loop.received(publish(2));
    owner.room = 1;
    loop.continueReading();
    await turn();
    expect(owner.calls).toEqual(['failed: no 1', 'failed: no 2']);
  });
});

describe('after the socket closed', () => {
  it('the end is reported at once when nothing waits', () => {
    const { owner, loop } = start();
    loop.received(publish(1));
    expect(loop.hasEnded).toBe(false);
    loop.end();
    expect([owner.calls, loop.hasEnded]).toEqual([['publish 1', 'read to end'], true]);
  });

  it('what was received before is processed first, however long it has to wait', async () => {
    const { owner, loop } = start();
    owner.room = 1;
    loop.received(Buffer.concat([publish(1), publish(2), publish(3)]));
    loop.end();
    expect(owner.calls).toEqual(['publish 1']);
    owner.room = 1;
    loop.continueReading();
    await turn();
    expect(owner.calls).toEqual(['publish 1', 'publish 2']);
    owner.room = 1;
    loop.continueReading();
    await turn();
    expect(owner.calls).toEqual(['publish 1', 'publish 2', 'publish 3', 'read to end']);
  });

  it('the end is reported although a packet is incomplete', () => {
    const { owner, loop } = start();
    loop.received(publish(1).subarray(0, 4));
    loop.end();
    expect(owner.calls).toEqual(['read to end']);
  });

  it('a loop that was stopped drops what waits, and reports the end', () => {
    const { owner, loop } = start();
    owner.room = 0;
    loop.received(publish(1));
    loop.stop();
    loop.end();
    expect(owner.calls).toEqual(['read to end']);
  });
});

describe('a loop that was stopped', () => {
  it('passes nothing more, also of what was scheduled before', async () => {
    const { owner, loop } = start();
    owner.room = 0;
    loop.received(publish(1));
    owner.room = 10;
    loop.continueReading();
    loop.stop();
    loop.received(publish(2));
    await turn();
    expect(owner.calls).toEqual([]);
  });

  it('by a handler reports no violation of the same chunk', () => {
    const { owner, loop } = start();
    owner.onPublish = () => loop.stop();
    loop.received(Buffer.concat([publish(1), reserved]));
    expect(owner.calls).toEqual(['publish 1']);
  });
});
