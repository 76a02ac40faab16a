import { describe, expect, it } from 'vitest';
import { startFleet } from '../test/fixtures/fleet.ts';
import { Readiness } from './readiness.ts';

const working = {
  registry: { findPolicy: async () => undefined },
  telemetry: { counters: () => ({ isDiskLow: false, isHeld: false }) },
} as never;

describe('the readiness of a server', () => {
  it('begins when its stores and listeners are open, and ends for good when it stops', async () => {
    const readiness = new Readiness();
    expect(await readiness.isReady()).toBe(false);
    readiness.serving(working);
    expect(await readiness.isReady()).toBe(true);
    readiness.draining();
    readiness.serving(working);
    expect(await readiness.isReady()).toBe(false);
  });

  it('is not given to a server that is told to stop while it starts', async () => {
    const readiness = new Readiness();
    readiness.draining();
    readiness.serving(working);
    expect(await readiness.isReady()).toBe(false);
  });

  it.each([
    ['the registry cannot be read', { registry: { findPolicy: () => Promise.reject(new Error('SQLITE_IOERR')) } }],
    ['the disk is full', { telemetry: { counters: () => ({ isDiskLow: true, isHeld: false }) } }],
    [
      'messages are held because a write failed',
      { telemetry: { counters: () => ({ isDiskLow: false, isHeld: true }) } },
    ],
  ])('is withdrawn while %s', async (_, failing) => {
    const readiness = new Readiness();
    readiness.serving({ ...(working as object), ...failing } as never);
    expect(await readiness.isReady()).toBe(false);
  });

  it('is withdrawn when the registry does not answer in time', async () => {
    const readiness = new Readiness(1);
    readiness.serving({ ...(working as object), registry: { findPolicy: () => new Promise(() => {}) } } as never);
    expect(await readiness.isReady()).toBe(false);
  });

  it('has no port of its own unless the configuration asks for one', async () => {
    const fleet = await startFleet();
    expect(fleet.healthUrl).toBeUndefined();
    await fleet.stop();
  });
});
