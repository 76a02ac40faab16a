import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkHistory, describeVerdict, violationsOf } from './check-history.ts';
import { type GoodHistory, goodHistory, steps } from './generated-history.ts';
import type { HistoryEntry, HistoryEvent, StoredState } from './history.ts';

const RUNS = { numRuns: 300 };

const on = (connection: number, node: string) => ({ device: 'dev-1', node, connection });

function history(...events: readonly HistoryEvent[]): readonly HistoryEntry[] {
  return events.map((event, at) => ({ at, ...event }));
}

function connect(connection: number, node: string): readonly HistoryEvent[] {
  return [
    { type: 'connecting', ...on(connection, node) },
    { type: 'connected', ...on(connection, node) },
  ];
}

const sent = (connection: number, node: string, key: string): HistoryEvent => ({
  type: 'published',
  ...on(connection, node),
  key,
});

const answered = (connection: number, node: string, key: string): HistoryEvent => ({
  type: 'acknowledged',
  ...on(connection, node),
  key,
});

function storedKeys(...keys: readonly string[]): StoredState {
  return { messages: new Map([['dev-1', keys]]), tokens: [] };
}

const violations = (events: readonly HistoryEntry[], stored: StoredState) => violationsOf(checkHistory(events, stored));

describe('the checker of histories finds', () => {
  it('a message that was acknowledged and is not stored', () => {
    const events = history(...connect(1, 'a'), sent(1, 'a', '1'), sent(1, 'a', '2'), answered(1, 'a', '1'));
    expect(violations(events, storedKeys('1'))).toEqual([]);
    expect(violations(events, storedKeys('2'))).toEqual(['lost: dev-1 1']);
  });

  it('a message that is stored twice, and one that nobody published', () => {
    const events = history(...connect(1, 'a'), sent(1, 'a', '1'));
    expect(violations(events, storedKeys('1', '1', '7'))).toEqual([
      'stored twice: dev-1 1',
      'never published: dev-1 7',
    ]);
    expect(violations([], storedKeys('7'))).toEqual(['never published: dev-1 7']);
  });

  it('messages of one connection in another order than they were sent', () => {
    const events = history(
      ...connect(1, 'a'),
      sent(1, 'a', '1'),
      sent(1, 'a', '2'),
      answered(1, 'a', '1'),
      answered(1, 'a', '2'),
    );
    expect(violations(events, storedKeys('1', '2'))).toEqual([]);
    expect(violations(events, storedKeys('2', '1'))).toEqual(['out of order: dev-1 2']);
  });

  it('a message that is stored before one that was acknowledged before it was sent, over other nodes too', () => {
    const events = history(
      ...connect(1, 'a'),
      sent(1, 'a', '1'),
      answered(1, 'a', '1'),
      ...connect(2, 'b'),
      sent(2, 'b', '2'),
    );
    expect(violations(events, storedKeys('1', '2'))).toEqual([]);
    expect(violations(events, storedKeys('2', '1'))).toEqual(['out of order: dev-1 2']);
  });

  it('no fault in a message that was sent again and is behind what followed it', () => {
    const events = history(
      ...connect(1, 'a'),
      sent(1, 'a', '1'),
      sent(1, 'a', '2'),
      ...connect(2, 'b'),
      sent(2, 'b', '1'),
      sent(2, 'b', '2'),
      answered(2, 'b', '1'),
      answered(2, 'b', '2'),
    );
    expect(violations(events, storedKeys('2', '1'))).toEqual([]);
  });

  it('a connection that is answered after a later one has its client id, and none that is answered what it sent before', () => {
    const before = [...connect(1, 'a'), sent(1, 'a', '1'), ...connect(2, 'b')];
    expect(violations(history(...before, answered(1, 'a', '1')), storedKeys('1'))).toEqual([]);
    const late = history(...before, sent(1, 'a', '2'), answered(1, 'a', '2'));
    expect(violations(late, storedKeys('1', '2'))).toEqual(['second owners: dev-1 connection 1 of a']);
  });

  it('two connections that were begun at once and are both answered', () => {
    const before: readonly HistoryEvent[] = [
      { type: 'connecting', ...on(1, 'a') },
      ...connect(2, 'b'),
      { type: 'connected', ...on(1, 'a') },
      sent(1, 'a', '1'),
      sent(2, 'b', '2'),
      answered(2, 'b', '2'),
    ];
    expect(violations(history(...before), storedKeys('2'))).toEqual([]);
    expect(violations(history(...before, answered(1, 'a', '1')), storedKeys('1', '2'))).toEqual([
      'second owners: dev-1 connection 1 of a',
      'second owners: dev-1 connection 2 of b',
    ]);
  });

  it('a connection that is answered while the database says that another node has its client id', () => {
    const claim = (askedAt: number): HistoryEvent => ({ type: 'claim read', device: 'dev-1', node: 'b', askedAt });
    const around = (askedAt: number) =>
      history(...connect(1, 'a'), claim(askedAt), sent(1, 'a', '1'), answered(1, 'a', '1'));
    expect(violations(around(1.5), storedKeys('1'))).toEqual(['second owners: dev-1 connection 1 of a']);
    // Asked before the connection had it.
    expect(violations(around(0.5), storedKeys('1'))).toEqual([]);
  });

  it('what is done for a device after its proof', () => {
    const before: readonly HistoryEvent[] = [
      ...connect(1, 'a'),
      sent(1, 'a', '1'),
      { type: 'command sent', device: 'dev-1', key: 'c-1' },
      { type: 'proof', device: 'dev-1', node: 'b', confirmed: 3 },
    ];
    const drained: HistoryEvent = { type: 'drained', device: 'dev-1' };
    const delivered: HistoryEvent = { type: 'delivered', ...on(1, 'a'), key: 'c-1' };
    const onItsWay = history(...before, answered(1, 'a', '1'), delivered, drained);
    expect(violations(onItsWay, storedKeys('1'))).toEqual([]);
    const late = history(...before, drained, answered(1, 'a', '1'), delivered, ...connect(2, 'c'));
    expect(violations(late, storedKeys('1'))).toEqual([
      'after a proof: dev-1 1 acknowledged by a',
      'after a proof: dev-1 c-1 delivered by a',
      'after a proof: dev-1 connected to c',
    ]);
    const sentLater = history(...before, sent(1, 'a', '2'), answered(1, 'a', '2'));
    expect(violations(sentLater, storedKeys('2'))).toEqual(['after a proof: dev-1 2 acknowledged by a']);
  });

  it('a node that was cut off, when the proof does not say until when, and when its connection is open after that', () => {
    const proof = (state: 'confirmed' | 'deaf', closedBy?: number): readonly HistoryEvent[] => [
      { type: 'revocation ordered', device: 'dev-1', node: 'b', cut: ['a'] },
      {
        ...{ type: 'proof', device: 'dev-1', node: 'b', confirmed: 1 },
        nodes: [{ name: 'a', state, ...(closedBy !== undefined && { closedBy }) }],
      },
    ];
    const closed: HistoryEvent = { type: 'closed', ...on(1, 'a') };
    const late: HistoryEntry = { at: 9_000, type: 'claim read', device: 'dev-1', node: 'b', askedAt: 8_999 };
    const found = (...events: readonly HistoryEvent[]) =>
      violations([...history(...connect(1, 'a'), ...events), late], storedKeys());
    expect(found(...proof('deaf', 5_000), closed)).toEqual([]);
    const unnamed = ['after a proof: dev-1 proof does not say that a is deaf until when'];
    expect(found(...proof('deaf'), closed)).toEqual(unnamed);
    expect(found(...proof('confirmed'), closed)).toEqual(unnamed);
    expect(found(...proof('deaf', 5_000))).toEqual([
      'after a proof: dev-1 connection of a open after the time in its proof',
    ]);
    // It has some time left.
    expect(found(...proof('deaf', 8_000))).toEqual([]);
  });

  it('a token that was used too often, and a device with a certificate that the database does not know', () => {
    const enrolled = (device: string): HistoryEvent => ({ type: 'enrolled', device, node: 'a', token: 't' });
    const events = history(enrolled('dev-1'), enrolled('dev-2'));
    const tokens = (maximum: number, used: number, devices: readonly string[]) => ({
      messages: new Map(),
      tokens: [{ token: 't', maximum, used, devices }],
    });
    expect(violations(events, tokens(2, 2, ['dev-1', 'dev-2']))).toEqual([]);
    expect(violations(events, tokens(1, 2, ['dev-1', 'dev-2']))).toHaveLength(3);
    expect(violations(events, tokens(2, 2, ['dev-1', 'dev-3']))).toEqual([
      'token uses too many: t: dev-2 is not recorded',
    ]);
  });

  it('entries that are of no one clock', () => {
    const [first, second] = history(...connect(1, 'a')) as [HistoryEntry, HistoryEntry];
    expect(() => checkHistory([second, first], storedKeys())).toThrow('in the order of their times');
  });
});

/** Changes a good history into a bad one; undefined where it has nothing to change. */
type Mutation = (good: GoodHistory) => string | undefined;

const acknowledgedEntries = ({ history: entries }: GoodHistory) =>
  entries.flatMap((entry) => (entry.type === 'acknowledged' ? [entry] : []));

function append({ history: entries }: GoodHistory, ...events: readonly HistoryEvent[]): void {
  for (const event of events) entries.push({ at: entries.length, ...event });
}

const MUTATIONS: readonly (readonly [title: string, mutation: Mutation])[] = [
  [
    'loses an acknowledged message',
    (good) => {
      const entry = acknowledgedEntries(good).at(-1);
      if (entry === undefined) return undefined;
      const keys = good.stored.messages.get(entry.device) as string[];
      keys.splice(keys.indexOf(entry.key), 1);
      return `lost: ${entry.device} ${entry.key}`;
    },
  ],
  [
    'stores a message twice',
    ({ stored: { messages } }) => {
      const found = [...messages].find(([, keys]) => keys.length > 0);
      if (found === undefined) return undefined;
      const [device, keys] = found;
      keys.push(keys[0] as string);
      return `stored twice: ${device} ${keys[0]}`;
    },
  ],
  [
    'stores a later message first',
    (good) => {
      const entry = acknowledgedEntries(good).at(0);
      if (entry === undefined) return undefined;
      const { device, node } = entry;
      append(good, { type: 'connecting', device, node, connection: 0 });
      append(good, { type: 'published', device, node, connection: 0, key: 'late' });
      good.stored.messages.get(device)?.unshift('late');
      return `out of order: ${device} late`;
    },
  ],
  [
    'serves a connection that was replaced',
    (good) => {
      const entry = good.history.findLast(({ type }) => type === 'connected');
      if (entry?.type !== 'connected') return undefined;
      const { device, node, connection } = entry;
      append(good, { type: 'connecting', device, node: 'd', connection: 0 });
      append(good, { type: 'connected', device, node: 'd', connection: 0 });
      append(good, { type: 'command sent', device, key: 'late' });
      append(good, { type: 'delivered', device, node, connection, key: 'late' });
      return `second owners: ${device} connection ${connection} of ${node}`;
    },
  ],
  [
    'serves a revoked device',
    (good) => {
      const entry = good.history.find(({ type }) => type === 'proof');
      if (entry?.type !== 'proof') return undefined;
      const { device } = entry;
      append(good, { type: 'connecting', device, node: 'a', connection: 0 });
      append(good, { type: 'connected', device, node: 'a', connection: 0 });
      return `after a proof: ${device} connected to a`;
    },
  ],
  [
    'uses a token once more than it may be',
    (good) => {
      const entries = good.history.filter(({ type }) => type === 'enrolled');
      if (entries.length < 2) return undefined;
      append(good, { type: 'enrolled', device: 'extra', node: 'c', token: 'token-1' });
      return 'token uses too many: token-1: 3 devices have a certificate, 2 may';
    },
  ],
];

describe('of histories of a broker that does everything right', () => {
  it('the checker finds nothing in any', () => {
    fc.assert(
      fc.property(steps, (of) => {
        const { history: events, stored } = goodHistory(of);
        expect(violations(events, stored)).toEqual([]);
      }),
      RUNS,
    );
  });

  it.each(MUTATIONS)('the checker finds each that %s', (_, mutate) => {
    let changed = 0;
    fc.assert(
      fc.property(steps, (of) => {
        const good = goodHistory(of);
        const expected = mutate(good);
        if (expected === undefined) return;
        changed += 1;
        expect(violations(good.history, good.stored)).toContain(expected);
      }),
      RUNS,
    );
    expect(changed).toBeGreaterThan(RUNS.numRuns / 10);
  });

  it('the counts of a verdict are one line', () => {
    const events = history(...connect(1, 'a'), sent(1, 'a', '1'), sent(1, 'a', '2'), answered(1, 'a', '1'));
    expect(describeVerdict(checkHistory(events, storedKeys('1', '2')))).toBe(
      'acknowledged 1, stored 2, lost 0, stored twice 0, out of order 0, never published 0, second owners 0, after a proof 0, token uses too many 0',
    );
  });
});
