/**
 * A whole Rollcall for a test: real servers on free ports in a directory of its own, without rate limits, closed and
 * removed at the end.
 *
 *     const fleet = await startFleet();
 *     const device = await fleet.enroll('dev-1');
 *     const client = await connectMqtt(device);
 */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Logger, pino } from 'pino';
import { loadConfig } from '../../cli/config-sources.ts';
import { type FleetServer, startFleetServer } from '../../cli/fleet-server.ts';
import { type ConsoleClient, openConsoleClient } from '../../console/client.ts';
import { enrollOnce } from '../../device-sdk/enrollment.ts';
import { memoryIdentityStore, type StoredIdentity } from '../../device-sdk/identity-store.ts';
import { UNLIMITED_ENROLL } from '../../enroll/limits.ts';

export interface FleetOverrides {
  /** Settings over the test defaults, as flags would set them: `[['mqtt', 'limits', 'packet'], '1KiB']`. */
  readonly settings?: readonly (readonly [path: readonly string[], value: unknown])[];
  /** An existing data directory, which then is not removed. */
  readonly data?: string;
  readonly now?: () => number;
  readonly log?: Logger;
}

export interface TestFleet extends FleetServer {
  readonly data: string;
  readonly operator: ConsoleClient;
  /** The text of a bootstrap token, for one device unless the order says otherwise. */
  mint(order?: Parameters<ConsoleClient['mintToken']>[0]): Promise<string>;
  /** A device that came in through the real door. Without an id the server chooses. */
  enroll(deviceId?: string, order?: Parameters<ConsoleClient['mintToken']>[0]): Promise<StoredIdentity>;
  /** Ends the servers and removes the data directory. */
  stop(): Promise<void>;
}

export async function startFleet(overrides: FleetOverrides = {}): Promise<TestFleet> {
  const data = overrides.data ?? mkdtempSync(join(tmpdir(), 'rollcall-test-'));
  const config = loadConfig({
    file: undefined,
    environment: {},
    flags: [
      [['data'], data],
      [['enroll', 'port'], 0],
      [['mqtt', 'port'], 0],
      [['console', 'port'], 0],
      [['requests', 'perSecondPerAddress'], 0],
      [['enroll', 'limits'], UNLIMITED_ENROLL],
      [['mqtt', 'limits', 'connectionsPerSecondPerAddress'], 0],
      ...(overrides.settings ?? []),
    ],
  });
  const server = await startFleetServer({
    config,
    version: '0.0.0-test',
    now: overrides.now ?? Date.now,
    log: overrides.log ?? pino({ level: 'silent' }),
  });
  const operator = openConsoleClient({ socketPath: server.socket });
  const mint: TestFleet['mint'] = async (order = {}) => (await operator.mintToken(order)).text;
  return {
    ...server,
    data,
    operator,
    mint,
    enroll: async (deviceId, order) =>
      enrollOnce(memoryIdentityStore(), { token: await mint(order), ...(deviceId !== undefined && { deviceId }) }),
    stop: async () => {
      await operator.close();
      await server.close();
      if (overrides.data === undefined) rmSync(data, { recursive: true, force: true });
    },
  };
}
