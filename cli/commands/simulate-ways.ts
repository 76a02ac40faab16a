/** The ways to start a simulation, and the options that each reads: an option that would have no effect is refused. */

import { Problem } from '@rollcall/protocol';

const SERVER = ['data', 'socket', 'server', 'apiKey', 'cert', 'key', 'serverCa'] as const;
const TARGET = ['target', 'targetCa', 'targetName', 'topic', 'clientId', 'serviceClientId'] as const;
const HOSTS = ['coordinate', 'hosts', 'gather', 'secret'] as const;
const RESULTS = ['report', 'junit', 'result', 'prometheusPort', 'keep'] as const;

const OPTIONS = {
  '--scenario': [
    ...['scenario', 'scale', 'faster', 'seed', 'duration', 'mqtt', 'identities', 'service', 'loadTest'],
    ...['nodes', 'workers', 'sourceAddress', ...SERVER, ...TARGET, ...HOSTS, ...RESULTS],
  ],
  '--devices': ['devices', 'token', 'rate', 'seconds', 'mqtt', 'loadTest', ...SERVER],
  '--join': ['join', 'fingerprint', 'secret', 'name', 'workers', 'sourceAddress'],
} as const;

export type SimulationWay = keyof typeof OPTIONS;
export const SIMULATION_WAYS = Object.keys(OPTIONS) as readonly SimulationWay[];
/** Of every command. */
const ALWAYS: ReadonlySet<string> = new Set(['json']);

export function readsOption(way: SimulationWay, name: string): boolean {
  return ALWAYS.has(name) || (OPTIONS[way] as readonly string[]).includes(name);
}

/** Problem `usage` that names an option which was given and which this way does not read. */
export function expectOptionsRead(way: SimulationWay, options: object): void {
  const stray = Object.entries(options).find(([name, value]) => value !== undefined && !readsOption(way, name));
  if (stray === undefined) return;
  const [name] = stray;
  const readers = SIMULATION_WAYS.filter((other) => readsOption(other, name));
  const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  throw new Problem('usage', { reason: `expected ${flag} with ${readers.join(' or ')}, found it with ${way}` });
}
