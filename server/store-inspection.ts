/** Whether this version can open the stores of a data directory. Changes nothing, so that another version can still open all of them. */

import { inspectSessionFile } from '../broker/index.ts';
import { inspectRegistry } from '../registry/open.ts';
import { inspectSinks, inspectTelemetry, type SinkSettings } from '../telemetry/index.ts';
import type { DataDirectory } from './data-directory.ts';
import { inspectFleetEvents } from './events/open.ts';

/** By name; each throws the error of opening that store. A store that does not exist yet is in order. */
export function storeInspections(
  data: DataDirectory,
  sinks: readonly SinkSettings[],
): readonly (readonly [name: string, inspect: () => void])[] {
  return [
    ['registry', () => inspectRegistry(data.registryFile)],
    ['sessions', () => inspectSessionFile(data.sessionFile)],
    ['telemetry', () => inspectTelemetry(data.telemetry)],
    ['events', () => inspectFleetEvents(data.events)],
    ['sinks', () => inspectSinks({ settings: sinks, directory: data.sinks })],
  ];
}
