/** `rollcall node join` as a process of its own, as an operator runs it on the new host: the token goes to its standard input. */

import { once } from 'node:events';
import { Problem } from '@rollcall/protocol';
import { endChild, spawnChild } from './child-processes.ts';

export interface JoinProcessOptions {
  /** `cli/main.ts` of the release that runs it. */
  readonly main: string;
  /** The text of a node token. */
  readonly token: string;
  /** Of the enroll server of a node. */
  readonly url: string;
  readonly name: string;
  readonly roles: readonly string[];
  /** A directory that is empty or not there. */
  readonly data: string;
}

const WITHIN_MS = 60_000;

/** Throws Problem `internal` with the last line of what it said. */
export async function joinNode({ main, token, url, name, roles, data }: JoinProcessOptions): Promise<void> {
  const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;
  const words = ['node', 'join', url, '--name', name, '--roles', roles.join(','), '--data', data];
  const child = spawnChild(process.execPath, [main, ...words], {
    stdio: ['pipe', 'ignore', 'pipe'],
    env: { PATH, HOME, ...(NODE_COMPILE_CACHE && { NODE_COMPILE_CACHE }) },
    atParentsDeath: 'SIGKILL',
  });
  const late = setTimeout(() => void endChild(child, 'SIGKILL'), WITHIN_MS);
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stdin?.on('error', () => {}); // It ended before it read the token, and says why.
  child.stdin?.end(`${token}\n`);
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  clearTimeout(late);
  if (code === 0) return;
  const reason = said.trim().split('\n').at(-1) ?? '';
  throw new Problem('internal', { detail: `${name} could not join: ${signal ?? code}`, reason });
}
