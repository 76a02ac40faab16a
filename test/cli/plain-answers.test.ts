/**
 * What every command owes a person: help and errors in durations and flags instead of the API's numbers and fields, an answer
 * when a list is empty, and secrets in files that nobody else can read. The commands are found in the program itself.
 */

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isDurationParser } from '../../cli/command-line.ts';
import { buildProgram, commandsOf, type NamedCommand } from '../../cli/program.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { rollcall } from '../fixtures/program.ts';

const program = await buildProgram();
const commands: readonly NamedCommand[] = [...commandsOf(program)];

let fleet: TestFleet;
let directory: string;
beforeAll(async () => {
  fleet = await startFleet();
  directory = mkdtempSync(join(tmpdir(), 'rollcall-answers-'));
});
afterAll(async () => {
  await fleet.stop();
  rmSync(directory, { recursive: true });
});

const run = (...args: readonly string[]) => rollcall([...args, '--data', fleet.data], { cwd: directory });

describe('help', () => {
  it.each(commands.map(({ path, command }) => [path, command] as const))(
    'of "rollcall %s" shows no number of milliseconds, seconds or bytes',
    (_, command) => {
      expect(command.helpInformation()).not.toMatch(/default:\s+\d{5,}|\d{6,}\s*(ms|s|bytes)\b/);
    },
  );
});

/** Arguments with which a command reaches the API, which limits the duration. Undefined: only the command limits it. */
const DURATIONS: Readonly<Record<string, readonly string[] | undefined>> = {
  'certificates expiring --within': [],
  'token create --ttl': [],
  'operator key create --ttl': ['dashboard', '--out', 'dashboard.key'],
  'image make --ttl': ['--out', 'card', '--group', 'press', '--uses', '1'],
  'ca rotate taint --within': ['0'.repeat(40)],
  'renewals pull --within': ['--all'],
  'group profile set --lifetime': ['press'],
  'node drain --within': ['main'],
  'node token --ttl': [],
  'telemetry series --bucket': ['--device', 'dev-1', '--stream', 'temperature', '--since', '1h'],
  'device command --wait': ['dev-1', 'reboot'],
  'device command --expires': ['dev-1', 'reboot'],
  'top --interval': ['--once'],
  'telemetry prune --older-than': undefined,
  'device list --expiring': undefined,
  'ca sign --life': undefined,
  'drill ca-compromise --within': undefined,
  'simulate --duration': undefined,
  'simulate --gather': undefined,
};

describe('a duration', () => {
  const options = commands.flatMap(({ path, command }) =>
    command.options.filter(({ parseArg }) => isDurationParser(parseArg)).map(({ long }) => `${path} ${long}`),
  );

  it('is tried for every option that has one', () => {
    const tried = new Set(Object.keys(DURATIONS));
    // Former names of commands run the same code.
    expect(options.filter((name) => !tried.has(name) && !/^token mint/.test(name))).toEqual([]);
  });

  it.each(Object.entries(DURATIONS).flatMap(([name, args]) => (args === undefined ? [] : [[name, args] as const])))(
    'beyond the limit of %s is refused by the name of the flag, with a duration',
    async (name, args) => {
      const words = name.split(' ');
      const flag = words.pop() as string;
      const { code, stderr, stdout } = await run(...words, ...args, `${flag}=999y`);
      expect({ code, stdout }).toEqual({ code: expect.toBeOneOf([2, 3]), stdout: '' });
      expect(stderr).toContain(flag);
      expect(stderr).toMatch(/\b\d+(ms|s|m|h|d|y)\b/);
      expect(stderr).not.toMatch(/\b(body|query|params)\.|[a-z]Seconds\b|\d{5,}/);
    },
  );

  it('of more than a thousand years is refused, before the server is asked', async () => {
    const { code, stderr } = await run('telemetry', 'prune', '--older-than', '1001y');
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringMatching(/--older-than .*expected at most 1000y/),
    });
  });

  it.each([
    ['events', 'list', '--since'],
    ['telemetry', 'query', '--since'],
  ])('before the first date that there is, is refused by %s %s %s', async (...words) => {
    const { code, stderr } = await run(...words, '900000000y');
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('--since') });
  });
});

/** Arguments of each command that prints a list, for a list that is empty. */
const LISTS: Readonly<Record<string, readonly string[] | undefined>> = {
  'token list': [],
  'token issued': undefined, // of a token that exists, below
  'device list': [],
  'policy list': undefined, // has the defaults at least
  'service list': [],
  'operator list': [],
  'operator key list': [],
  'operator session list': [],
  'certificates expiring': ['--kind', 'device'],
  'telemetry query': ['--device', 'dev-1'],
  'telemetry last': [],
  'telemetry series': ['--device', 'dev-1', '--stream', 'heat', '--since', '1h', '--bucket', '1m'],
  'events list': ['--device', 'nobody'],
  'node list': undefined, // has one node at least
  'node token list': [],
  'sink list': [],
  'audit list': ['--subject', 'device/nobody'],
};

describe('an empty list', () => {
  it('is tried for every command that prints one', () => {
    const printing = commands
      .map(({ path }) => path)
      .filter((path) => / (list|query|last|series|issued|expiring)$/.test(path));
    expect(Object.keys(LISTS).sort()).toEqual(printing.sort());
  });

  it.each(Object.entries(LISTS).flatMap(([name, args]) => (args === undefined ? [] : [[name, args] as const])))(
    'of "rollcall %s" is said on standard error, and is nothing or an empty list in JSON',
    async (name, args) => {
      const words = name.split(' ');
      expect(await run(...words, ...args)).toMatchObject({
        ...{ code: 0, stdout: '' },
        stderr: expect.stringMatching(/^rollcall: (there is no|no|nothing) .+\n$/),
      });
      expect(await run(...words, ...args, '--json')).toMatchObject({
        ...{ code: 0, stderr: '' },
        stdout: expect.stringMatching(/^(\[\]\n)?$/),
      });
    },
  );
});

describe('a bootstrap token', () => {
  it('is written to a new file that only its owner can read, and no file is overwritten', async () => {
    const created = await run('token', 'create', '--out', 'token', '--device', 'dev-7');
    expect(created.code).toBe(0);
    expect(created.stdout).toMatch(/^token [0-9a-f]{16} written to token; it enrolls device dev-7 until .+Z\n$/);
    const text = readFileSync(join(directory, 'token'), 'utf8');
    expect(statSync(join(directory, 'token')).mode & 0o777).toBe(0o600);
    expect(text.length).toBeGreaterThan(50);
    expect(created.stdout).not.toContain(text.trim());

    const tokens = (await fleet.operator.listTokens()).length;
    const again = await run('token', 'create', '--out', 'token');
    expect(again).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('token exists') });
    expect(readFileSync(join(directory, 'token'), 'utf8')).toBe(text);
    expect((await fleet.operator.listTokens()).length).toBe(tokens);
    const none = await run('token', 'issued', /^token (\S+)/.exec(created.stdout)?.[1] as string);
    expect(none).toMatchObject({ code: 0, stderr: 'rollcall: nothing was issued from it\n' });
    const json = await run('token', 'create', '--out', 'other', '--json');
    expect(JSON.parse(json.stdout)).toEqual({ token: expect.objectContaining({ maxUses: 1 }), file: 'other' });
  });

  it('that the server refuses leaves no file', async () => {
    expect((await run('token', 'create', '--out', 'refused', '--ttl', '31d')).code).toBe(3);
    expect(() => statSync(join(directory, 'refused'))).toThrow('ENOENT');
  });

  it('in a file that others can read comes with a warning, and none in one that they cannot', async () => {
    for (const [mode, warned] of [
      [0o644, true],
      [0o600, false],
    ] as const) {
      const file = join(directory, `shown-${mode}`);
      writeFileSync(file, '', { mode });
      const stdout = openSync(file, 'w');
      const { code, stderr } = await rollcall(['token', 'create', '--data', fleet.data], { stdout });
      closeSync(stdout);
      expect({ code, warned: stderr.includes('other users can read the file') }).toEqual({ code: 0, warned });
    }
  });
});

describe('rollcall device enroll', () => {
  it('without a token enrolls at the server on this machine, with one that the server creates', async () => {
    const enrolled = await run('device', 'enroll', '--id', 'bench-1', '--out', 'bench-1');
    expect(enrolled).toMatchObject({ code: 0, stderr: '' });
    expect(enrolled.stdout).toContain('device bench-1 is enrolled');
    expect((await fleet.operator.listTokens()).at(-1)).toMatchObject({ uses: 1, maxUses: 1 });
    // A device that exists is let in again by a token for it alone.
    expect((await run('device', 'enroll', '--id', 'bench-1', '--out', 'again')).code).toBe(3);
  });

  it('without a token and without a server says what it needs', async () => {
    const { code, stderr } = await rollcall(['device', 'enroll', '--out', 'none', '--data', 'nowhere'], {
      cwd: directory,
    });
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: expect.stringContaining('expected --token, or a running server'),
    });
  });
});

it.each([
  [['tokn'], 'Did you mean token?'],
  [['token', 'create', '--tll', '1h'], 'Did you mean --ttl?'],
  [['device', 'list', '--status', 'activ'], 'Did you mean active?'],
  [['policy', 'explain', 'press-1', 'publsh', 't'], 'Did you mean publish?'],
  [['completion', 'bsh'], 'Did you mean bash?'],
  [['certificates', 'expiring', '--kind', 'crl,rot'], 'Did you mean root?'],
  [['simulate', '--scenario', 'smok'], 'did you mean smoke?'],
])('a misspelt word in "rollcall %j" is answered with the one that was meant', async (words, answer) => {
  const { code, stderr } = await rollcall(words);
  expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(answer) });
});

it('a policy that refuses ends "policy explain" with exit code 1, also as JSON', async () => {
  await fleet.enroll('press-1');
  const explain = (...more: readonly string[]) => run('policy', 'explain', 'press-1', 'publish', ...more);
  expect((await explain('devices/press-1/telemetry/heat')).code).toBe(0);
  expect(await explain('devices/press-2/telemetry/heat')).toMatchObject({ code: 1, stderr: '' });
  expect((await explain('devices/press-2/telemetry/heat', '--json')).code).toBe(1);
});

it('events are listed in the order of time, also when the registry recorded one a moment later', async () => {
  const listed = (await run('events', 'list')).stdout.trim().split('\n');
  const times = listed.map((line) => Date.parse(line.split(' ')[0] as string));
  expect(times).toEqual(times.toSorted((a, b) => a - b));
});
