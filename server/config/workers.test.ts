import { expect, it } from 'vitest';
import { loadConfig } from './config-sources.ts';
import { automaticWorkers, canShareListener, expectQueueForWorkers } from './workers.ts';

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

it('workers are refused when the queue of telemetry has no room for two packets in each of them and the main thread', () => {
  expectQueueForWorkers(3, 8 * 262_144, 262_144);
  expect(() => expectQueueForWorkers(3, 8 * 262_144 - 1, 262_144)).toThrow(
    expect.objectContaining({
      code: 'config_invalid',
      reason:
        'telemetry.queuedBytes: expected at least 2097152 bytes for 3 workers and packets of 262144, found 2097151',
    }),
  );
});

it('the largest number of workers fits into the queue of telemetry without the option', () => {
  const { mqtt, telemetry } = loadConfig({ file: undefined, environment: {}, flags: [] });
  expectQueueForWorkers(64, telemetry.queuedBytes, mqtt.limits.packet);
});
