/** After the proof of its revocation nothing is done for a device: no message acknowledged, none delivered, no connection accepted. */

import type { DeviceHistory } from './history.ts';

/** Each as `device what`. */
export function checkRevocation({ device, entries }: DeviceHistory): readonly string[] {
  const provenAt = entries.find(({ type }) => type === 'proof')?.place ?? Number.POSITIVE_INFINITY;
  const drainedAt = entries.find(({ type }) => type === 'drained')?.place ?? Number.POSITIVE_INFINITY;
  /** Where each frame was sent: messages by connection and key, commands by key, connections by number. */
  const sent = new Map<string, number>();
  const found: string[] = [];
  for (const entry of entries) {
    const { type, place } = entry;
    // What was on its way when the proof came is received before the process is drained, and was sent before the proof.
    const isLate = (name: string) => (sent.get(name) ?? 0) > provenAt || place > drainedAt;
    if (type === 'connecting') sent.set(`${entry.connection}`, place);
    else if (type === 'published') sent.set(`${entry.connection} ${entry.key}`, place);
    else if (type === 'command sent') sent.set(entry.key, place);
    else if (type === 'connected' && isLate(`${entry.connection}`)) found.push(`${device} connected to ${entry.node}`);
    else if (type === 'acknowledged' && isLate(`${entry.connection} ${entry.key}`)) {
      found.push(`${device} ${entry.key} acknowledged by ${entry.node}`);
    } else if (type === 'delivered' && isLate(entry.key)) {
      found.push(`${device} ${entry.key} delivered by ${entry.node}`);
    }
  }
  return found;
}
