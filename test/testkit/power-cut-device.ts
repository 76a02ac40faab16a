/**
 * A device in a process of its own whose power is cut, or whose disk is full, at a write that the test names: the bundle,
 * killed with SIGKILL from inside just before that write. What the device does is the test's own script.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSingleFile } from '../../device-sdk/build.ts';

/** What can be done with a file that is written; names in a directory are always counted. */
type FileAct = 'write' | 'writeFile' | 'sync' | 'datasync';

export interface PowerCut {
  readonly mode: 'kill' | 'full';
  /** Counted from 1. A disk that is full stays so. */
  readonly at: number;
}

export interface PowerCutRun {
  /** What the script said, a line each. */
  readonly lines: readonly string[];
  readonly signal: string | null;
}

export interface PowerCutDevice {
  /** Where devices keep what they write. */
  readonly directory: string;
  /** `order` is what the script finds under this name. */
  run(order: object, cut?: PowerCut): Promise<PowerCutRun>;
  remove(): void;
}

/** Before a script: it has `Device`, `order`, `say(line)`, `watch()` after which writes count, and `writes()` so far. */
const PRELUDE = `
const fs = require('node:fs');
const promises = require('node:fs/promises');
const { order, cut, acts } = JSON.parse(process.argv[2]);
const say = (line) => fs.writeSync(1, line + '\\n');
let count;
const watch = () => { count = 0; };
const writes = () => count;
function write() {
  if (count === undefined) return;
  count += 1;
  if (cut?.mode === 'kill' && count === cut.at) process.kill(process.pid, 'SIGKILL');
  if (cut?.mode === 'full' && count >= cut.at) throw Object.assign(new Error('no space'), { code: 'ENOSPC' });
}
const watched = (real) => async (...given) => {
  write();
  return real(...given);
};
for (const name of ['rename', 'rm', 'rmdir', 'mkdir']) promises[name] = watched(promises[name]);
const open = promises.open;
promises.open = async (path, flags, mode) => {
  const file = await open(path, flags, mode);
  if (flags !== 'r') for (const name of acts) file[name] = watched(file[name].bind(file));
  return file;
};
const { Device } = require('./device-sdk.cjs');
`;

/** `script` is the body of an async function; an error of it is said with its code. */
export async function powerCutDevice(script: string, acts: readonly FileAct[]): Promise<PowerCutDevice> {
  const directory = mkdtempSync(join(tmpdir(), 'rollcall-power-cut-'));
  await buildSingleFile(join(directory, 'device-sdk.cjs'));
  const program = `${PRELUDE}\n(async () => {\n${script}\n})().catch((error) => say('error ' + error.code));\n`;
  writeFileSync(join(directory, 'device.cjs'), program);
  return {
    directory,
    async run(order, cut) {
      const child = spawn(process.execPath, ['device.cjs', JSON.stringify({ order, cut, acts })], {
        cwd: directory,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.on('data', (bytes: Buffer) => {
        text += bytes.toString();
      });
      const [, signal] = (await once(child, 'close')) as [number | null, string | null];
      return { lines: text.trim().split('\n'), signal };
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
