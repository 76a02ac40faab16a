/** What nodes stored of the messages of a fleet, against what its devices saw acknowledged. */

import type { DeviceId } from '@rollcall/protocol';
import type { DemoFleet } from '../../cli/demo/demo-fleet.ts';
import type { ConsoleClient } from '../../console/client.ts';

export interface StoredMessages {
  readonly acknowledged: number;
  readonly stored: number;
  /** Acknowledged and not stored. */
  readonly lost: number;
  readonly storedTwice: number;
  /** Stored behind a message that the device sent later. */
  readonly misplaced: number;
}

const PAGE = 1_000;

/** After the fleet's end. */
export async function compareStored(fleet: DemoFleet, operator: ConsoleClient): Promise<StoredMessages> {
  const total = { acknowledged: 0, stored: 0, lost: 0, storedTwice: 0, misplaced: 0 };
  for (const [key, acknowledged] of fleet.acknowledged()) {
    const [device, stream] = key.split(' ') as [DeviceId, string];
    const sequences = await readSequences(operator, device, stream);
    const stored = new Set(sequences);
    total.acknowledged += acknowledged.size;
    total.stored += stored.size;
    total.storedTwice += sequences.length - stored.size;
    const { ranges } = acknowledged;
    for (let at = 0; at < ranges.length; at += 2) {
      for (let sequence = ranges[at] as number; sequence <= (ranges[at + 1] as number); sequence += 1) {
        if (!stored.has(sequence)) total.lost += 1;
      }
    }
    let newest = -1;
    for (const sequence of sequences) {
      if (sequence < newest) total.misplaced += 1;
      newest = Math.max(newest, sequence);
    }
  }
  return total;
}

export function describeStored({ acknowledged, stored, lost, storedTwice, misplaced }: StoredMessages): string {
  return `acknowledged ${acknowledged}, stored ${stored}, lost ${lost}, stored twice ${storedTwice}, out of order ${misplaced}`;
}

export function isWhole({ acknowledged, lost, storedTwice, misplaced }: StoredMessages): boolean {
  return acknowledged > 0 && lost + storedTwice + misplaced === 0;
}

/** For a script: prints what was compared and each failure, and sets the exit code. */
export function concludeScript(stored: StoredMessages, failures: readonly string[], say: (line: string) => void): void {
  const all = isWhole(stored)
    ? failures
    : [...failures, 'not everything that was acknowledged is stored once and in order'];
  for (const line of [describeStored(stored), ...all]) say(line);
  process.exitCode = all.length === 0 ? 0 : 1;
}

/** In the order in which they are stored. */
async function readSequences(operator: ConsoleClient, device: DeviceId, stream: string): Promise<readonly number[]> {
  const found: number[] = [];
  for (let before: number | undefined; ; ) {
    const page = await operator.queryTelemetry({
      device,
      stream,
      limit: PAGE,
      ...(before !== undefined && { before }),
    });
    found.unshift(...page.map(({ payload }) => (payload as { readonly seq: number }).seq));
    if (page.length < PAGE) return found;
    before = page[0]?.position;
  }
}
