/**
 * Applies a new configuration to a running server: the options that can change without a restart. The others are named, and stay as they
 * are. The new configuration has been validated before, so that no step fails.
 */

import type { Broker } from '../broker/index.ts';
import type { Authority, EnrollServer } from '../enroll/index.ts';
import type { RequestBudget } from '../limits/index.ts';
import type { Config } from './config/config.ts';
import { settingPaths } from './config/config-sources.ts';

/** Options that take effect at once; a path stands for all options below it. */
export const LIVE_OPTIONS = [
  'log.level',
  'drain',
  'clones.response',
  'requests.perSecondPerAddress',
  'enroll.limits.enrollmentsPerSecond',
  'enroll.limits.enrollmentsPerSecondPerAddress',
  'enroll.limits.renewalsPerSecond',
  'enroll.limits.renewalsPerSecondPerAddress',
  'enroll.limits.connectionsPerSecond',
  'enroll.limits.connectionsPerSecondPerAddress',
  'mqtt.limits.connectionsPerSecondPerAddress',
  'mqtt.limits.handshakes',
  'mqtt.limits.handshakesPerAddress',
  'mqtt.limits.sessionsPerIdentity',
] as const;

export interface ReloadReport {
  /** Options that changed and are in effect, by their paths: `mqtt.limits.handshakes`. */
  readonly changed: readonly string[];
  /** Options that changed and are in effect after a restart. */
  readonly needRestart: readonly string[];
}

export interface LiveParts {
  readonly requests: RequestBudget;
  readonly broker: Broker;
  readonly enroll: EnrollServer;
  readonly authority: Authority;
  readonly setLogLevel: (level: Config['log']['level']) => void;
}

/** Changes `current`, which all parts of the server read. Certificate files are read again too; they report their own changes. */
export async function applyConfig(current: Config, next: Config, parts: LiveParts): Promise<ReloadReport> {
  const different = settingPaths().filter((path) => !isEqual(valueAt(current, path), valueAt(next, path)));
  const live = different.filter((path) => isLive(path.join('.')));
  for (const path of live) setAt(current, path, valueAt(next, path));
  parts.setLogLevel(current.log.level);
  parts.requests.setRate(current.requests.perSecondPerAddress);
  parts.enroll.applyRates(current.enroll.limits);
  parts.broker.applyLimits(current.mqtt.limits);
  await parts.authority.serverCertificates.readFiles();
  const names = (paths: readonly (readonly string[])[]) => paths.map((path) => path.join('.'));
  return { changed: names(live), needRestart: names(different.filter((path) => !live.includes(path))) };
}

function isLive(path: string): boolean {
  return LIVE_OPTIONS.some((option) => path === option || path.startsWith(`${option}.`));
}

function valueAt(config: Config, path: readonly string[]): unknown {
  return path.reduce<unknown>((node, key) => (node as Record<string, unknown>)[key], config);
}

function setAt(config: Config, path: readonly string[], value: unknown): void {
  const parent = valueAt(config, path.slice(0, -1)) as Record<string, unknown>;
  parent[path.at(-1) as string] = value;
}

function isEqual(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}
