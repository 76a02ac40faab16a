import { expect, it } from 'vitest';
import { loadConfig } from './config-sources.ts';
import { canShareListener, expectWorkers, type WorkersOptions, workersOf } from './workers.ts';

const configured = (workers: unknown) =>
  loadConfig({ file: undefined, environment: {}, flags: [[['mqtt', 'workers'], workers]] }).mqtt.workers;

const OPTIONS = { workers: 'auto', isShared: false, queuedBytes: 64 * 1_048_576, packet: 262_144 } as const;
const onCores = (cores: number, options: Partial<WorkersOptions> = {}, canShare = true) =>
  workersOf({ ...OPTIONS, ...options }, { cores, canShare });

it('workers are as many as the option says', () => {
  expect(configured(3)).toBe(3);
});

it('workers are by default one for each core, at most eight, and one on a machine with one or two cores', () => {
  expect([1, 2, 3, 4, 8, 64].map((cores) => onCores(cores))).toEqual([1, 1, 3, 4, 8, 8]);
  expect(configured(undefined)).toBe(configured('auto'));
});

it('workers are by default one where several nodes share the store, and where threads cannot share a port', () => {
  expect([onCores(8, { isShared: true }), onCores(8, {}, false)]).toEqual([1, 1]);
  const flags = [[['store', 'url'], 'postgres://rollcall@db/rollcall']] as const;
  expect(loadConfig({ file: undefined, environment: {}, flags }).mqtt.workers).toBe(1);
});

it('workers are by default no more than the queue of telemetry has room for', () => {
  const queuedBytes = 8 * 262_144;
  expect([onCores(8, { queuedBytes }), onCores(8, { queuedBytes: 262_144 })]).toEqual([3, 1]);
  expectWorkers({ workers: onCores(8, { queuedBytes }), isShared: false, queuedBytes, packet: 262_144 }, true);
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
  const three = { workers: 3, isShared: false, queuedBytes: 8 * 262_144, packet: 262_144 };
  expectWorkers(three, true);
  expect(() => expectWorkers({ ...three, queuedBytes: 8 * 262_144 - 1 }, true)).toThrow(
    expect.objectContaining({
      code: 'config_invalid',
      reason:
        'telemetry.queuedBytes: expected at least 2097152 bytes for 3 workers and packets of 262144, found 2097151',
    }),
  );
});

it('workers are refused where threads cannot share a port, and with a store that several nodes share; one is not', () => {
  const two = { workers: 2, isShared: false, queuedBytes: 8 * 262_144, packet: 262_144 };
  const refused = expect.objectContaining({ code: 'config_invalid', reason: expect.stringContaining('expected 1') });
  expect(() => expectWorkers(two, false)).toThrow(refused);
  expect(() => expectWorkers({ ...two, isShared: true }, true)).toThrow(refused);
  expectWorkers({ ...two, workers: 1, isShared: true }, false);
});

it('the largest number of workers fits into the queue of telemetry without the option', () => {
  const { mqtt, telemetry } = loadConfig({ file: undefined, environment: {}, flags: [] });
  const { queuedBytes } = telemetry;
  expectWorkers({ workers: 64, isShared: false, queuedBytes, packet: mqtt.limits.packet }, true);
});
