/** The messages of a fleet that were acknowledged, against those that the journal holds. */

import type { VirtualDeviceSnapshot } from '../report.ts';

/** How many acknowledged messages an export (NDJSON) lacks. One that was stored and not acknowledged makes up for none of another device. */
export async function countLostMessages(
  devices: readonly Pick<VirtualDeviceSnapshot, 'id' | 'acknowledged'>[],
  ndjson: AsyncIterable<Buffer>,
): Promise<number> {
  const stored = new Map<string, Set<number>>();
  for (const { id } of devices) if (id !== undefined) stored.set(id, new Set());
  let rest = '';
  for await (const chunk of ndjson) {
    const lines = (rest + chunk.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') continue;
      const { device, payload } = JSON.parse(line) as { device: string; payload?: { seq?: number } };
      if (typeof payload?.seq === 'number') stored.get(device)?.add(payload.seq);
    }
  }
  return devices.reduce((sum, { id, acknowledged }) => {
    const found = id === undefined ? 0 : (stored.get(id)?.size ?? 0);
    return sum + Math.max(0, acknowledged - found);
  }, 0);
}
