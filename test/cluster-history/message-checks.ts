/** What was acknowledged is stored, once, and in the order of its device. */

import type { DeviceHistory, PlacedEntry } from './history.ts';

export interface MessageFindings {
  readonly acknowledged: number;
  readonly stored: number;
  /** Each as `device key`: acknowledged and not stored. */
  readonly lost: readonly string[];
  readonly storedTwice: readonly string[];
  /** Stored before a message that has to be in front of it. */
  readonly misplaced: readonly string[];
  /** Stored, and never published by its device. */
  readonly unknown: readonly string[];
}

/** One message of a device, as its client saw it. Places are those of the history. */
interface SeenMessage {
  readonly key: string;
  readonly firstSentAt: number;
  readonly connection: number;
  timesSent: number;
  acknowledgedAt: number | undefined;
}

export function checkMessages({ device, entries }: DeviceHistory, storedKeys: readonly string[]): MessageFindings {
  const seen = seenMessages(entries);
  const positions = new Map<string, number>();
  const storedTwice: string[] = [];
  for (const [position, key] of storedKeys.entries()) {
    if (positions.has(key)) storedTwice.push(`${device} ${key}`);
    else positions.set(key, position);
  }
  const acknowledged = [...seen.values()].filter(({ acknowledgedAt }) => acknowledgedAt !== undefined);
  const named = (messages: readonly SeenMessage[]) => messages.map(({ key }) => `${device} ${key}`);
  return {
    acknowledged: acknowledged.length,
    stored: positions.size,
    lost: named(acknowledged.filter(({ key }) => !positions.has(key))),
    storedTwice,
    misplaced: named(misplaced([...seen.values()], positions)),
    unknown: [...positions.keys()].filter((key) => !seen.has(key)).map((key) => `${device} ${key}`),
  };
}

function seenMessages(entries: readonly PlacedEntry[]): ReadonlyMap<string, SeenMessage> {
  const seen = new Map<string, SeenMessage>();
  for (const entry of entries) {
    if (entry.type === 'published') {
      const { key, connection, place } = entry;
      const message = seen.get(key);
      if (message === undefined) {
        seen.set(key, { key, firstSentAt: place, connection, timesSent: 1, acknowledgedAt: undefined });
      } else message.timesSent += 1;
    } else if (entry.type === 'acknowledged') {
      const message = seen.get(entry.key);
      if (message !== undefined) message.acknowledgedAt ??= entry.place;
    }
  }
  return seen;
}

/**
 * Two messages have an order when the first was acknowledged before the second was sent at all; and when both were sent once, over the same
 * connection, and were acknowledged. What was sent again may be behind what was sent after it at first.
 */
function misplaced(messages: readonly SeenMessage[], positions: ReadonlyMap<string, number>): readonly SeenMessage[] {
  const found = new Set<SeenMessage>();
  const inOrder = messages.toSorted((a, b) => a.firstSentAt - b.firstSentAt);
  const byAnswer = inOrder
    .filter(({ acknowledgedAt }) => acknowledgedAt !== undefined)
    .toSorted((a, b) => (a.acknowledgedAt as number) - (b.acknowledgedAt as number));
  const newestOfConnection = new Map<number, number>();
  let answered = 0;
  /** The last position of all that was acknowledged before the message at hand was sent. */
  let newest = -1;
  for (const message of inOrder) {
    for (; answered < byAnswer.length; answered += 1) {
      const earlier = byAnswer[answered] as SeenMessage;
      if ((earlier.acknowledgedAt as number) > message.firstSentAt) break;
      newest = Math.max(newest, positions.get(earlier.key) ?? -1);
    }
    const position = positions.get(message.key);
    if (position === undefined) continue;
    if (position < newest) found.add(message);
    if (message.timesSent > 1 || message.acknowledgedAt === undefined) continue;
    const before = newestOfConnection.get(message.connection) ?? -1;
    if (position < before) found.add(message);
    newestOfConnection.set(message.connection, Math.max(before, position));
  }
  return [...found];
}
