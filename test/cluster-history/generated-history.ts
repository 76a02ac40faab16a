/**
 * Histories of a broker that does everything right, for property tests of the checker: a list of steps drives a model of devices and
 * their broker, and steps that make no sense at their moment are left out.
 */

import fc from 'fast-check';
import type { HistoryEntry, HistoryEvent, StoredState } from './history.ts';

const DEVICES = ['dev-1', 'dev-2', 'dev-3'] as const;
const NODES = ['a', 'b', 'c'] as const;
const TOKEN = 'token-1';
const TOKEN_USES = 2;

const KINDS = [
  ...['connect', 'connect', 'publish', 'publish', 'publish', 'store', 'store', 'store', 'acknowledge', 'acknowledge'],
  ...['close', 'publish on a replaced connection', 'read claim', 'send command', 'deliver', 'revoke', 'enroll'],
] as const;

interface Step {
  readonly kind: (typeof KINDS)[number];
  readonly device: number;
  readonly node: number;
}

export const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({ kind: fc.constantFrom(...KINDS), device: fc.nat(2), node: fc.nat(2) }),
  { minLength: 40, maxLength: 200, size: 'max' },
);

export interface GoodHistory {
  readonly history: HistoryEntry[];
  readonly stored: { messages: Map<string, string[]>; tokens: StoredState['tokens'] };
}

interface Connection {
  readonly device: string;
  readonly node: string;
  readonly connection: number;
}

class ModelDevice {
  readonly name: string;
  readonly stored: string[] = [];
  current: Connection | undefined;
  replaced: Connection | undefined;
  /** Sent over the connection, oldest first: not stored yet, and not acknowledged yet. */
  arrived: string[] = [];
  owed: string[] = [];
  /** Not acknowledged over any connection. */
  unanswered: string[] = [];
  commands: string[] = [];
  sent = 0;
  isRevoked = false;

  constructor(name: string) {
    this.name = name;
  }

  connect(connection: Connection): void {
    this.replaced = this.current;
    this.current = connection;
    this.arrived = [];
    this.owed = [];
  }

  publish(key: string): void {
    this.arrived.push(key);
    this.owed.push(key);
    if (!this.unanswered.includes(key)) this.unanswered.push(key);
  }
}

export function goodHistory(of: readonly Step[]): GoodHistory {
  const history: HistoryEntry[] = [];
  const record = (event: HistoryEvent) => void history.push({ at: history.length, ...event });
  const devices = DEVICES.map((name) => new ModelDevice(name));
  const enrolled: string[] = [];
  let connections = 0;
  let commands = 0;
  for (const { kind, device: index, node: nodeIndex } of of) {
    const device = devices[index] as ModelDevice;
    const node = NODES[nodeIndex] as string;
    const { name, current, replaced } = device;
    if (kind === 'enroll') {
      if (enrolled.length === TOKEN_USES) continue;
      enrolled.push(`new-${enrolled.length}`);
      record({ type: 'enrolled', device: enrolled.at(-1) as string, node, token: TOKEN });
    } else if (kind === 'connect') {
      if (device.isRevoked) continue;
      connections += 1;
      const connection = { device: name, node, connection: connections };
      for (const type of ['connecting', 'connected'] as const) record({ type, ...connection });
      device.connect(connection);
      for (const key of device.unanswered) {
        record({ type: 'published', ...connection, key });
        device.publish(key);
      }
    } else if (kind === 'publish on a replaced connection' && replaced !== undefined) {
      device.sent += 1;
      device.unanswered.push(`${device.sent}.k`);
      record({ type: 'published', ...replaced, key: `${device.sent}.k` });
    } else if (kind === 'send command') {
      commands += 1;
      record({ type: 'command sent', device: name, key: `c-${commands}` });
      if (!device.isRevoked) device.commands.push(`c-${commands}`);
    } else if (kind === 'revoke' && !device.isRevoked && nodeIndex === 0) {
      device.isRevoked = true;
      device.current = undefined;
      record({ type: 'revocation ordered', device: name, node });
      record({ type: 'proof', device: name, node, confirmed: 3 });
      record({ type: 'drained', device: name });
    }
    if (current === undefined || device.isRevoked) continue;
    if (kind === 'publish') {
      device.sent += 1;
      record({ type: 'published', ...current, key: `${device.sent}.k` });
      device.publish(`${device.sent}.k`);
    } else if (kind === 'store') {
      const key = device.arrived.shift();
      if (key !== undefined && !device.stored.includes(key)) device.stored.push(key);
    } else if (kind === 'acknowledge') {
      const key = device.owed[0];
      if (key === undefined || device.arrived.includes(key)) continue;
      device.owed.shift();
      device.unanswered = device.unanswered.filter((one) => one !== key);
      record({ type: 'acknowledged', ...current, key });
    } else if (kind === 'deliver') {
      const key = device.commands.shift();
      if (key !== undefined) record({ type: 'delivered', ...current, key });
    } else if (kind === 'read claim') {
      record({ type: 'claim read', device: name, node: current.node, askedAt: history.length - 0.5 });
    } else if (kind === 'close') {
      record({ type: 'closed', ...current });
      device.current = undefined;
    }
  }
  const tokens = [{ token: TOKEN, maximum: TOKEN_USES, used: enrolled.length, devices: enrolled }];
  return { history, stored: { messages: new Map(devices.map(({ name, stored }) => [name, stored])), tokens } };
}
