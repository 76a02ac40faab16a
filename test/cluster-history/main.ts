/**
 * The long run: `.ci/cluster [--patroni] [--minutes N] [--devices N] [--seed S] [--faults NAME,NAME] [--seeded NAME] [--history FILE]
 * [--logs DIRECTORY]`; 5 minutes, 30 devices, a seed of the time, and all faults that the database and this machine allow, if not said.
 * Exit code 1 when the checker finds a violation or a device does not come back.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { parseDecimal } from '@rollcall/protocol';
import { areClientsRequired } from '../fixtures/client-programs.ts';
import { CuttableHosts } from '../fixtures/cuttable-hosts.ts';
import { describeVerdict, violationsOf } from './check-history.ts';
import { FAULTS, type FaultName, needOf } from './faults.ts';
import { runScenario } from './scenario.ts';
import { SEEDED_FAULTS, type SeededFaultName } from './seeded-faults.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    devices: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    faults: { type: 'string' },
    seeded: { type: 'string' },
    patroni: { type: 'boolean', default: false },
    history: { type: 'string' },
    logs: { type: 'string' },
  },
});
const minutes = number('minutes', values.minutes, 120);
const seed = number('seed', values.seed, 2 ** 31);
const { patroni } = values;
const say = (line: string) => process.stdout.write(`${line}\n`);
say(`seed ${seed}`);
const faultNames = chosenFaults();
const seeded = seededFault();
const { verdict, faults, stuck } = await runScenario({
  ...seeded,
  nodes: ['a', 'b', 'c'],
  standbys: 2,
  patroni,
  ownHosts: faultNames.some((name) => needOf(name) === 'hosts'),
  devices: number('devices', values.devices, 500),
  every: 100,
  seed,
  nextFault: (random, elapsed) =>
    elapsed < minutes * 60_000 ? faultNames[Math.floor(random() * faultNames.length)] : undefined,
  pause: 3_000,
  longest: minutes * 60_000 + 600_000,
  historyFile: values.history,
  progress: say,
  ended: (node, log) => void (values.logs && writeFileSync(join(values.logs, `${node}.log`), log)),
});
for (const line of violationsOf(verdict).slice(0, 50)) say(line);
if (stuck.length > 0) say(`not everything is acknowledged: ${stuck.join(', ')}`);
say(`${minutes} minutes, seed ${seed}, ${faults} faults: ${describeVerdict(verdict)}, stuck devices ${stuck.length}`);
process.exitCode = violationsOf(verdict).length + stuck.length > 0 ? 1 : 0;

function chosenFaults(): readonly FaultName[] {
  const isPossible = (name: FaultName) => {
    const need = needOf(name);
    return patroni ? need === undefined || need === 'patroni' : need !== 'patroni';
  };
  const named = values.faults?.split(',').map((name) => {
    if (!Object.hasOwn(FAULTS, name)) throw new Error(`expected one of ${Object.keys(FAULTS).join()}, found ${name}`);
    if (!isPossible(name as FaultName)) throw new Error(`${name} is no fault ${patroni ? 'of' : 'without'} --patroni`);
    return name as FaultName;
  });
  const names = named ?? (Object.keys(FAULTS) as FaultName[]).filter(isPossible);
  const missing = names.some((name) => needOf(name) === 'hosts') ? CuttableHosts.missing() : undefined;
  if (missing === undefined) return names;
  if (areClientsRequired) throw new Error(missing);
  say(`skipped: faults of the network; ${missing}`);
  const left = names.filter((name) => needOf(name) !== 'hosts');
  if (left.length === 0) throw new Error('no fault is left');
  return left;
}

function seededFault() {
  const name = values.seeded;
  if (name === undefined) return {};
  if (Object.hasOwn(SEEDED_FAULTS, name)) return SEEDED_FAULTS[name as SeededFaultName];
  throw new Error(`--seeded: expected one of ${Object.keys(SEEDED_FAULTS).join()}, found ${name}`);
}

function number(name: string, text: string, most: number): number {
  const found = parseDecimal(text, 1, most);
  if (found === undefined) throw new Error(`--${name}: expected a number from 1 to ${most}, found ${text}`);
  return found;
}
