/**
 * The load generator: a process of its own that executes orders over IPC, one at a time, and reports what
 * each took and what it cost itself. Ends with its parent.
 */

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { openConsoleClient } from '../../../console/client.ts';
import { burst, measured } from './burst.ts';
import { type LoadDevice, newApplicant, newDevice } from './devices.ts';
import { certificateOf, enrollmentRequest, exchange, openEnrollConnection, untilClosed } from './enrollments.ts';
import type { LoadAnswer, LoadOrder, LoadReport } from './orders.ts';
import { paceOn } from './pace.ts';
import { closeSession, type OpenSession, openSession, publishOn } from './sessions.ts';

type Order<Kind extends LoadOrder['kind']> = Extract<LoadOrder, { kind: Kind }>;

/** Handshakes at once while sessions are only being prepared. */
const OPENING = 16;
const OPEN_TRIES = 5;
const OPEN_AGAIN_MS = 2_000;

const devices: LoadDevice[] = [];
const open = new Map<string, OpenSession[]>();

async function enroll(order: Order<'enroll'>): Promise<LoadReport> {
  const { port, token, connections } = order;
  const applicants = Array.from({ length: order.count }, newApplicant);
  const requests = applicants.map((applicant) => enrollmentRequest(applicant, token, connections));
  const answers: Buffer[] = [];
  let report: LoadReport;
  if (connections === 'new') {
    report = await burst(order, async (index) => {
      const socket = await openEnrollConnection(port);
      answers[index] = await exchange(socket, requests[index] as Buffer);
      await untilClosed(socket);
    });
  } else {
    const sockets = await Promise.all(Array.from({ length: order.inFlight }, () => openEnrollConnection(port)));
    const free = [...sockets];
    report = await burst(order, async (index) => {
      const socket = free.pop() as (typeof sockets)[number];
      answers[index] = await exchange(socket, requests[index] as Buffer);
      free.push(socket);
    });
    for (const socket of sockets) socket.end();
    await Promise.all(sockets.map(untilClosed));
  }
  const certificates = answers.map(certificateOf);
  if (order.devices === 'stored') {
    applicants.forEach((applicant, index) => {
      devices.push(newDevice(applicant, certificates[index] as string));
    });
  }
  return report;
}

/** The next device by port: a server sees each device once before it sees one again. */
const turns = new Map<number, number>();

function connect(order: Order<'connect'>): Promise<LoadReport> {
  const first = turns.get(order.port) ?? 0;
  turns.set(order.port, first + order.count);
  return burst(order, async (index) => {
    const device = devices[(first + index) % devices.length] as LoadDevice;
    await closeSession(await openSession(device, order.port));
  });
}

async function openAll(order: Order<'open'>): Promise<LoadReport> {
  const sessions = open.get(order.as) ?? [];
  open.set(order.as, sessions);
  const first = (order.skip ?? 0) + sessions.length;
  if (first + order.count > devices.length) {
    throw new Error(`expected ${first + order.count} devices, found ${devices.length}`);
  }
  return burst({ count: order.count, inFlight: OPENING }, async (index) => {
    sessions.push(await openAtLast(devices[first + index] as LoadDevice, order));
  });
}

/** A node that is not heard for a moment refuses connections. */
async function openAtLast(device: LoadDevice, { port, version }: Order<'open'>): Promise<OpenSession> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await openSession(device, port, version);
    } catch (error) {
      if (tries === OPEN_TRIES) throw error;
      await delay(OPEN_AGAIN_MS);
    }
  }
}

function publish(order: Order<'publish'>): Promise<LoadReport> {
  return measured(() =>
    publishOn(sessionsOf(order.as), ({ device, version }) => device.publish[version][order.topic], order),
  );
}

async function pace(order: Order<'pace'>): Promise<LoadReport> {
  let samples: readonly number[] = [];
  const report = await measured(async () => {
    samples = await paceOn(sessionsOf(order.as), ({ device, version }) => device.publish[version][order.topic], order);
  });
  return { ...report, samples };
}

async function takeOver({ ports, count }: Order<'takeOver'>): Promise<LoadReport> {
  const samples: number[] = [];
  const portOf = (index: number) => ports[index % ports.length] as number;
  const report = await measured(async () => {
    for (let index = 0; index < count; index += 1) {
      const device = devices[index % devices.length] as LoadDevice;
      const first = await openSession(device, portOf(index));
      const closed = once(first.socket, 'close');
      const second = await openSession(device, portOf(index + 1));
      samples.push(second.connackAfter);
      await closed;
      await closeSession(second);
    }
  });
  return { ...report, samples };
}

const closing = new Map<string, Promise<unknown>[]>();

async function revoke(order: Order<'revoke'>): Promise<LoadReport> {
  const all = sessionsOf(order.as);
  const sessions = all.splice(all.length - order.count);
  const operator = openConsoleClient({ socketPath: order.socketPath });
  const samples: number[] = [];
  const confirmed: number[] = [];
  const ofName = closing.get(order.as) ?? [];
  closing.set(order.as, ofName);
  const report = await measured(async () => {
    for (const { device, socket } of sessions) {
      const closed = once(socket, 'close').then(() => performance.now());
      ofName.push(closed);
      const sent = performance.now();
      const { brokersConfirmed } = await operator.revokeDevices({ ids: [device.id], reason: 'keyCompromise' });
      const answered = performance.now();
      confirmed.push(brokersConfirmed);
      if (order.until === 'answer') samples.push(answered - sent);
      else samples.push(Math.max(order.until === undefined ? 0 : answered, await closed) - sent);
    }
  });
  await operator.close();
  return { ...report, samples, confirmed };
}

function untilRevokedClosed({ as }: Order<'untilRevokedClosed'>): Promise<LoadReport> {
  return measured(async () => void (await Promise.all(closing.get(as) ?? [])));
}

async function revokeAll(order: Order<'revokeAll'>): Promise<LoadReport> {
  const all = sessionsOf(order.as);
  const sessions = all.splice(all.length - order.count);
  const operator = openConsoleClient({ socketPath: order.socketPath });
  let samples: readonly number[] = [];
  const confirmed: number[] = [];
  const report = await measured(async () => {
    const ids = sessions.map(({ device }) => device.id);
    const closed = Promise.all(sessions.map(({ socket }) => once(socket, 'close'))).then(() => performance.now());
    const sent = performance.now();
    const { brokersConfirmed } = await operator.revokeDevices({ ids, reason: 'keyCompromise', confirm: 'yes' });
    confirmed.push(brokersConfirmed);
    const answered = performance.now();
    samples = [answered - sent, (await closed) - sent];
  });
  await operator.close();
  return { ...report, samples, confirmed };
}

async function closeAll(order: Order<'close'>): Promise<LoadReport> {
  const sessions = sessionsOf(order.as);
  open.delete(order.as);
  return measured(async () => {
    const live = sessions.filter(({ socket }) => !socket.closed);
    for (let at = 0; at < live.length; at += OPENING) {
      await Promise.all(live.slice(at, at + OPENING).map(closeSession));
    }
  });
}

function sessionsOf(name: string): OpenSession[] {
  const sessions = open.get(name);
  if (sessions === undefined) throw new Error(`expected open sessions of ${name}, found none`);
  return sessions;
}

function execute(order: LoadOrder): Promise<LoadReport> {
  switch (order.kind) {
    case 'enroll':
      return enroll(order);
    case 'connect':
      return connect(order);
    case 'open':
      return openAll(order);
    case 'publish':
      return publish(order);
    case 'pace':
      return pace(order);
    case 'takeOver':
      return takeOver(order);
    case 'revoke':
      return revoke(order);
    case 'untilRevokedClosed':
      return untilRevokedClosed(order);
    case 'revokeAll':
      return revokeAll(order);
    case 'close':
      return closeAll(order);
  }
}

const answer = (message: LoadAnswer) => process.send?.(message);

process.on('message', (order: LoadOrder) => {
  execute(order).then(
    (report) => answer({ report }),
    (error: unknown) => answer({ error: error instanceof Error ? error.message : String(error) }),
  );
});
process.once('disconnect', () => process.exit(0));
process.once('SIGTERM', () => process.exit(0));
