import { Problem } from '@rollcall/protocol';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import type { Config } from '../server/config/index.ts';
import type { FleetServer } from '../server/index.ts';
import { runUntilStopped } from './run-until-stopped.ts';

const SERVER = { enrollUrl: 'https://a:1', mqttUrl: 'mqtts://a:2', consoleUrl: 'https://a:3' } as FleetServer;
const log = pino({ level: 'silent' });
const config = { enroll: {}, mqtt: { webSocket: {} }, console: {}, health: {} } as Config;

function runOf(starts: readonly (FleetServer | Problem)[]) {
  const left = [...starts];
  const stop = Promise.withResolvers<string>();
  const begun: boolean[] = [];
  const run = runUntilStopped(
    {
      ...{ config, log, stopped: stop.promise },
      start: async () => {
        const next = left.shift() as FleetServer | Problem;
        if (next instanceof Problem) throw next;
        return next;
      },
    },
    async (_server, isFirst) => {
      begun.push(isFirst);
      stop.resolve('SIGTERM');
      return () => {};
    },
  );
  return { run, begun, left };
}

it('a server that others supersede in the middle of its start is started again, and its first start is the one that succeeds', async () => {
  const superseded = new Problem('node_superseded', { reason: 'another node took over the sessions of b' });
  const { run, begun, left } = runOf([superseded, superseded, SERVER]);
  expect(await run).toEqual({ server: SERVER, signal: 'SIGTERM' });
  expect([begun, left]).toEqual([[true], []]);
});

it('a start that fails for another reason ends the run', async () => {
  const { run, begun, left } = runOf([new Problem('node_removed'), SERVER]);
  await expect(run).rejects.toMatchObject({ code: 'node_removed' });
  expect([begun, left.length]).toEqual([[], 1]);
});

it('a server that is told to stop while it starts is not announced, and its start ends without an error', async () => {
  const stop = Promise.withResolvers<string>();
  const begun: boolean[] = [];
  const run = runUntilStopped(
    {
      ...{ config, log, stopped: stop.promise },
      start: (_lost, abandoned) =>
        new Promise((_, reject) => {
          abandoned.addEventListener('abort', () => reject(new Problem('unavailable', { reason: 'closed' })));
          stop.resolve('SIGTERM');
        }),
    },
    async (_server, isFirst) => {
      begun.push(isFirst);
      return () => {};
    },
  );
  expect(await run).toEqual({ server: undefined, signal: 'SIGTERM' });
  expect(begun).toEqual([]);
});

it('a server that is told to stop just before it has started is closed by its caller, and is not announced', async () => {
  const run = runUntilStopped(
    { ...{ config, log, stopped: Promise.resolve('SIGINT') }, start: async () => SERVER },
    async () => {
      throw new Error('expected no announcement');
    },
  );
  expect(await run).toEqual({ server: SERVER, signal: 'SIGINT' });
});

it('a server whose start cannot be announced is closed', async () => {
  let isClosed = false;
  const server: FleetServer = {
    ...SERVER,
    close: async () => {
      isClosed = true;
    },
  };
  const run = runUntilStopped({ config, log, stopped: new Promise(() => {}), start: async () => server }, async () => {
    throw new Problem('unavailable');
  });
  await expect(run).rejects.toMatchObject({ code: 'unavailable' });
  expect(isClosed).toBe(true);
});
