/**
 * When a queued message expires. Counted by the uptime of the process, so that a clock that is corrected by years expires nothing; only
 * what an earlier run queued is counted by the clock.
 */

import type { PacketProperties } from './mqtt-codec/index.ts';
import { uptime } from './schedule.ts';

/** Uptime in milliseconds at which the message expires; undefined: never. `queuedFor`: milliseconds. */
export function expiresAt(properties: PacketProperties | undefined, queuedFor: number): number | undefined {
  const seconds = properties?.messageExpiryInterval;
  return seconds === undefined ? undefined : uptime() + seconds * 1_000 - Math.max(0, queuedFor);
}

/** The properties with what is left of the expiry [MQTT-3.3.2-6]. */
export function withTimeLeft(
  properties: PacketProperties | undefined,
  end: number | undefined,
): PacketProperties | undefined {
  if (properties === undefined || end === undefined) return properties;
  return { ...properties, messageExpiryInterval: Math.max(1, Math.ceil((end - uptime()) / 1_000)) };
}

export function hasExpired(end: number | undefined): boolean {
  return end !== undefined && uptime() >= end;
}
