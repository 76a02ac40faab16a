/** Completion scripts and manual pages, made from the definitions of the commands, in the shells and programs that read them. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CommandWords, commandWords } from '../../cli/completion/command-words.ts';
import { buildProgram } from '../../cli/program.ts';
import { DEVICE_STATUSES } from '../../registry/index.ts';
import { type ClientName, clientCommand, installed } from '../fixtures/client-programs.ts';
import { rollcall } from '../fixtures/program.ts';

const directory = mkdtempSync(join(tmpdir(), 'rollcall-completion-'));
const commands = commandWords(await buildProgram());
afterAll(() => rmSync(directory, { recursive: true }));

/** Runs a script of a shell with the completion of that shell in the file `completion`. */
function runShell(name: ClientName, flags: readonly string[], script: string): readonly string[] {
  const [program = '', ...args] = clientCommand(name);
  const file = join(directory, `try.${name}`);
  writeFileSync(file, script);
  const { status, stdout, stderr } = spawnSync(program, [...args, ...flags, file], {
    cwd: directory,
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout.split('\n');
}

function wordsOf({ commands: below, options, argumentChoices }: CommandWords): readonly string[] {
  return [...below.map(({ name }) => name), ...argumentChoices, ...options.map(({ flag }) => flag)];
}

/** The words after each command, and two that begin differently, as lines of `PATH: WORDS`. */
const EXPECTED = [
  ...commands.map((each) => `${each.path.join(' ')}: ${[...wordsOf(each)].sort().join(' ')}`),
  'device list --status: '.concat([...DEVICE_STATUSES].sort().join(' ')),
];
const PLACES = [...commands.map(({ path }) => path.join(' ')), 'device list --status'];

describe.each(['bash', 'zsh', 'fish'] as const)('completion in %s', (shell) => {
  beforeAll(async () => {
    const { code, stdout, stderr } = await rollcall(['completion', shell]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    writeFileSync(join(directory, `completion.${shell}`), stdout);
  });

  it.skipIf(!installed(shell))('offers the commands, options and values that follow each command', () => {
    const tries: Readonly<Record<typeof shell, readonly string[]>> = {
      bash: PLACES.map(
        (place) => `COMP_WORDS=(rollcall ${place} ''); COMP_CWORD=$((\${#COMP_WORDS[@]} - 1)); _rollcall
        echo "${place}: $(printf '%s\\n' "\${COMPREPLY[@]}" | LC_ALL=C sort | paste -sd ' ')"`,
      ),
      zsh: PLACES.map(
        (place) => `words=(rollcall ${place} ''); CURRENT=$#words; _rollcall
        echo "${place}: $(print -l -- "\${found[@]%%:*}" | LC_ALL=C sort | paste -sd ' ')"`,
      ),
      fish: PLACES.map(
        (place) => `echo "${place}: "(begin
          complete -C 'rollcall ${place} '; ${place.endsWith('--status') ? '' : `complete -C 'rollcall ${place} --'`}
        end | string replace -r '\\t.*' '' | env LC_ALL=C sort -u | paste -sd ' ')`,
      ),
    };
    const prepare = {
      bash: 'source completion.bash',
      // What the completion system of zsh provides.
      zsh: 'compdef() {}\n_files() {}\n_describe() { found=("${(@P)2}") }\nsource ./completion.zsh',
      fish: 'source completion.fish',
    };
    const flags = { bash: [], zsh: ['-f'], fish: ['--no-config'] };
    const lines = runShell(shell, flags[shell], [prepare[shell], ...tries[shell]].join('\n'));
    const listed = new Map(lines.filter((line) => line.includes(': ')).map((line) => [line.split(': ')[0], line]));
    for (const [index, place] of PLACES.entries()) {
      const offered = listed.get(place)?.split(': ')[1]?.split(' ') ?? [];
      const expected = EXPECTED[index]?.split(': ')[1]?.split(' ') ?? [];
      // fish and bash complete file names where a command takes some.
      expect(offered, place).toEqual(expect.arrayContaining(expected));
    }
    expect(PLACES.length).toBeGreaterThan(50);
  });
});

describe('the manual pages', () => {
  beforeAll(async () => {
    expect(await rollcall(['man', '--out', join(directory, 'man')])).toMatchObject({ code: 0, stderr: '' });
  });

  it('describe every command and option', () => {
    const text = readdirSync(join(directory, 'man'))
      .map((name) => readFileSync(join(directory, 'man', name), 'utf8'))
      .join('\n')
      .replaceAll('\\-', '-');
    for (const { path, options } of commands) {
      expect(text).toContain(['rollcall', ...path].join(' '));
      for (const { flag } of options) expect(text).toContain(flag);
    }
  });

  it.skipIf(!installed('mandoc'))('are accepted by mandoc without a warning', () => {
    const [program = '', ...args] = clientCommand('mandoc');
    const files = readdirSync(join(directory, 'man'));
    const { status, stdout } = spawnSync(program, [...args, '-Tlint', '-W', 'warning', ...files], {
      cwd: join(directory, 'man'),
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  });
});
