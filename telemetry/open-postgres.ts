/** Opens telemetry on PostgreSQL. Its code is loaded by a server that uses it alone: commands start faster without. */

import type { DeviceId } from '@rollcall/protocol';
import type { LaneTelemetry, PostgresTelemetryOptions } from './postgres/open.ts';

export async function openPostgresTelemetry<Source extends string = DeviceId>(
  options: PostgresTelemetryOptions,
): Promise<LaneTelemetry<Source>> {
  const engine = await import('./postgres/open.ts');
  return engine.openPostgresTelemetry<Source>(options);
}
