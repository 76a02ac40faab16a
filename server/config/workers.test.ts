import { expect, it } from 'vitest';
import { loadConfig } from './config-sources.ts';
import { automaticWorkers, canShareListener } from './workers.ts';

const workersOf = (workers: unknown) =>
  loadConfig({ file: undefined, environment: {}, flags: [[['mqtt', 'workers'], workers]] }).mqtt.workers;

it('workers are one without the option, as many as it says, and those of the machine with auto', () => {
  expect([workersOf(undefined), workersOf(3)]).toEqual([1, 3]);
  expect(workersOf('auto')).toBe(automaticWorkers());
  expect(automaticWorkers()).toBeLessThanOrEqual(8);
});

it('workers are read from the environment', () => {
  const environment = { ROLLCALL_MQTT_WORKERS: '4' };
  expect(loadConfig({ file: undefined, environment, flags: [] }).mqtt.workers).toBe(4);
});

it('threads share a port on Linux with Node alone', () => {
  expect(canShareListener('linux', 'node')).toBe(true);
  expect([canShareListener('darwin', 'node'), canShareListener('linux', 'bun')]).toEqual([false, false]);
});
