/**
 * After the proof of its revocation nothing is done for a device: no message acknowledged, none delivered, no connection accepted. A node that
 * was cut off is named in the proof as one that hears nothing, with the time by which its sockets are closed, and so they are.
 */

import type { DeviceHistory, NodeInProof } from './history.ts';

/** How long the end of a connection takes to be seen and recorded, ms. */
const SEEN_WITHIN_MS = 2_000;

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
  return [...found, ...checkProof({ device, entries })];
}

function checkProof({ device, entries }: DeviceHistory): readonly string[] {
  const proof = entries.find((entry) => entry.type === 'proof');
  const order = entries.find((entry) => entry.type === 'revocation ordered');
  if (proof?.nodes === undefined) return [];
  const unnamed = (order?.cut ?? []).filter(
    (name) => !proof.nodes?.some((node) => node.name === name && isSilent(node)),
  );
  const end = entries.at(-1)?.at ?? 0;
  const open = proof.nodes.filter(({ name, closedBy = Number.POSITIVE_INFINITY }) => {
    const late = closedBy + SEEN_WITHIN_MS;
    const closed = new Set<number>();
    for (const entry of entries) if (entry.type === 'closed' && entry.at <= late) closed.add(entry.connection);
    const isOpen = (entry: (typeof entries)[number]) =>
      entry.type === 'connected' && entry.node === name && entry.at < proof.at && !closed.has(entry.connection);
    return late < end && entries.some(isOpen);
  });
  return [
    ...unnamed.map((name) => `${device} proof does not say that ${name} is deaf until when`),
    ...open.map(({ name }) => `${device} connection of ${name} open after the time in its proof`),
  ];
}

function isSilent({ state, closedBy }: NodeInProof): boolean {
  return (state === 'deaf' || state === 'closed') && closedBy !== undefined;
}
