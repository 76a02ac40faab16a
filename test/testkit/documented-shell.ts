/**
 * The shell of a documentation page as a program: blocks marked `sh` are what a reader types, a block marked `text` right
 * after one is what it prints. In it `…` stands for anything on its line.
 */

import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { succeed } from './real-client.ts';

interface ShellBlock {
  readonly script: string;
  readonly prints: string | undefined;
}

const FENCED = /^```sh\n(.*?)^```\n(?:\s*^```text\n(.*?)^```\n)?/gms;
const END_OF_BLOCK = '== end of block ==';

function shellBlocks(page: string, heading: string): readonly ShellBlock[] {
  const section = page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';
  return [...section.matchAll(FENCED)].map(([, script = '', prints]) => ({ script, prints }));
}

/**
 * Types a section's blocks into one shell, which stops at the first command that fails, and compares what each of them
 * prints on standard output. Returns how many there were.
 */
export async function runDocumentedShell(options: {
  readonly page: URL;
  readonly heading: string;
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
}): Promise<number> {
  const { directory, environment } = options;
  const blocks = shellBlocks(readFileSync(options.page, 'utf8'), options.heading);
  const script = blocks.map((block) => `${block.script}echo '${END_OF_BLOCK}'\n`).join('');
  const args = ['-c', `set -euo pipefail; umask 077; ${script}`];
  const { stdout } = await succeed('bash', args, { directory, environment });
  const outputs = stdout.split(`${END_OF_BLOCK}\n`);
  for (const [index, { script: typed, prints }] of blocks.entries()) {
    if (prints !== undefined) expect(tidy(outputs[index] ?? ''), typed).toMatch(patternOf(tidy(prints)));
  }
  return blocks.length;
}

/** Without blanks at the end of lines, which nobody sees. */
function tidy(text: string): string {
  return text.replace(/[ \t]+$/gm, '').trim();
}

function patternOf(text: string): RegExp {
  const parts = text.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}
