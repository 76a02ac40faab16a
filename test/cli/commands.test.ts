/** Commands against a running server: results on standard output, messages on standard error, exit codes. */

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Ended } from '../fixtures/child-process.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { connectMqtt } from '../fixtures/mqtt.ts';
import { rollcall } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet.stop());

/** Runs a command against this file's server. */
function run(...args: string[]): Promise<Ended> {
  return rollcall([...args, '--data', fleet.data]);
}

async function json<T>(...args: string[]): Promise<T> {
  const { stdout, stderr, code } = await run(...args, '--json');
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return JSON.parse(stdout) as T;
}

describe('a command without --data', () => {
  it('finds the server that a package installed, unless there is a data directory here', async () => {
    const cwd = temporaryDirectory();
    const environment = { ROLLCALL_SYSTEM_DATA: fleet.data };
    expect(await rollcall(['token', 'list'], { cwd, environment })).toMatchObject({ code: 0 });
    mkdirSync(join(cwd, 'data'));
    writeFileSync(join(cwd, 'data/registry.db'), '');
    const { code, stderr } = await rollcall(['token', 'list'], { cwd, environment });
    expect(code).not.toBe(0);
    expect(stderr).toContain(`there is no operator socket in ${join(cwd, 'data')}`);
  });
});

describe('rollcall token', () => {
  it('creates a token, lists it without its secret, and revokes it', async () => {
    const { stdout, stderr } = await run(
      'token',
      'create',
      '--uses',
      '3',
      '--ttl',
      '2h',
      '--group',
      'press',
      '--label',
      'site=a',
      '--label',
      'line=b',
    );
    const text = stdout.trim();
    expect(stderr).toContain('only this machine can use it');
    expect(text).toMatch(/^rc1\.[0-9a-f]{16}\./);
    const [, id, secret] = text.split('.') as [string, string, string];
    const list = await run('token', 'list', '--json');
    expect(list.stdout).not.toContain(secret);
    expect(JSON.parse(list.stdout)).toContainEqual(
      expect.objectContaining({
        id,
        maxUses: 3,
        uses: 0,
        group: 'press',
        labels: { site: 'a', line: 'b' },
        state: 'usable',
      }),
    );
    expect((await run('token', 'revoke', id)).stdout).toBe(`token ${id} is revoked; 0 of 3 uses enrolled a device\n`);
    expect((await run('token', 'list')).stdout).toMatch(new RegExp(`^${id}  revoked`, 'm'));
    await expect(fleet.enroll('void-1', {}).then(() => 'enrolled')).resolves.toBe('enrolled');
  });

  it('accepts the former names mint, void and blast, which its help does not list', async () => {
    const [, id] = (await run('token', 'mint')).stdout.split('.') as [string, string];
    expect((await run('token', 'blast', id)).stdout).toContain(`token ${id}, created`);
    expect((await run('token', 'void', id)).stdout).toContain(`token ${id} is revoked`);
    const help = (await rollcall(['token', '--help'])).stdout;
    expect(help).toMatch(/^ {2}create .*^ {2}list .*^ {2}revoke .*^ {2}issued /ms);
    expect(help).not.toMatch(/mint|void|blast/);
  });

  it.each([
    [['create', '--ttl', '31d'], 3],
    [['create', '--ttl', '5'], 2],
    [['create', '--uses', '0'], 2],
    [['create', '--device', 'a/b'], 2],
    [['create', '--device', 'a', '--uses', '2'], 3],
    [['create', '--label', 'site'], 2],
    [['revoke', '0000000000000000'], 3],
  ])('refuses %j with exit code %d and an explanation', async (args, code) => {
    const ended = await run('token', ...args);
    expect(ended.code).toBe(code);
    expect(ended.stdout).toBe('');
    expect(ended.stderr).toMatch(/^rollcall: error: [a-z]/);
  });
});

describe('rollcall device', () => {
  it('enrolls this machine from a token file, with files that only their owner can read', async () => {
    const directory = temporaryDirectory();
    const tokenFile = join(directory, 'token');
    writeFileSync(tokenFile, `${await fleet.mint()}\n`);
    const out = join(directory, 'dev');
    const args = ['device', 'enroll', '--token', `@${tokenFile}`, '--id', 'cli-1', '--out', out];
    const first = await rollcall(args);
    expect(first.stdout).toContain(`device cli-1 is enrolled; its key, certificate and root are in ${out}`);
    expect(statSync(join(out, 'key.pem')).mode & 0o777).toBe(0o600);
    const read = (name: string) => readFileSync(join(out, name), 'utf8');
    expect(read('cert.pem').match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    await connectMqtt({
      deviceId: 'cli-1',
      mqttUrl: fleet.mqttUrl,
      keyPem: read('key.pem'),
      certificatePem: read('cert.pem'),
      rootPem: read('ca.pem'),
    });
    const before = read('cert.pem');
    expect((await rollcall(args)).code).toBe(0); // the machine is enrolled already
    expect(read('cert.pem')).toBe(before);
  });

  it('reads the token from standard input, and reports that a consumed one is rejected', async () => {
    const token = await fleet.mint();
    const out = join(temporaryDirectory(), 'dev');
    const args = ['device', 'enroll', '--token', '-', '--out', out];
    expect((await rollcall(args, { stdin: token })).code).toBe(0);
    const spent = await rollcall(
      ['device', 'enroll', '--token', '-', '--out', join(temporaryDirectory(), 'dev'), '--json'],
      { stdin: token },
    );
    expect(spent.code).toBe(3);
    expect(JSON.parse(spent.stderr)).toMatchObject({ code: 'token_rejected', status: 401 });
  });

  it('lists, shows and revokes devices', async () => {
    await fleet.enroll('cli-2', { group: 'press' });
    const client = await connectMqtt(await fleet.enroll('cli-3', { group: 'press' }));
    expect((await json<{ id: string }[]>('device', 'list', '--group', 'press')).map(({ id }) => id)).toEqual([
      'cli-2',
      'cli-3',
    ]);
    expect((await run('device', 'show', 'cli-3')).stdout).toMatch(/^session {3}from 127\.0\.0\.1 since 20/m);
    const revoked = await run('device', 'revoke', 'cli-2', 'cli-3', '--reason', 'keyCompromise', '--yes');
    expect(revoked.stdout).toMatch(/^2 revoked, 1 live sessions closed, confirmed by 1 broker, the last after \d/m);
    expect(client.connected).toBe(false);
    expect((await json<object[]>('device', 'list', '--group', 'press', '--status', 'revoked')).length).toBe(2);
  });

  it('revokes no device when one of them is unknown', async () => {
    await fleet.enroll('cli-4');
    const { code, stderr } = await run('device', 'revoke', 'cli-4', 'cli-nobody', '--reason', 'superseded');
    expect([code, stderr]).toEqual([3, expect.stringContaining('cli-nobody')]);
    expect(await json('device', 'show', 'cli-4')).toMatchObject({ status: 'active' });
  });

  it('requires a revocation reason of RFC 5280', async () => {
    expect((await run('device', 'revoke', 'cli-4')).code).toBe(2);
    expect((await run('device', 'revoke', 'cli-4', '--reason', 'lost')).code).toBe(2);
  });
});

describe('rollcall service', () => {
  it('issues credentials with a key generated on this machine, once per directory', async () => {
    const out = join(temporaryDirectory(), 'svc');
    expect((await run('service', 'issue', 'board', '--out', out)).stdout).toContain(
      'service board: credentials written to',
    );
    expect(statSync(join(out, 'key.pem')).mode & 0o777).toBe(0o600);
    expect(existsSync(join(out, 'ca.pem'))).toBe(true);
    const again = await run('service', 'issue', 'board', '--out', out);
    expect([again.code, again.stderr]).toEqual([
      2,
      expect.stringContaining('expected a directory without credentials'),
    ]);
    expect(await json<object[]>('service', 'list')).toContainEqual(
      expect.objectContaining({ name: 'board', status: 'active' }),
    );
    expect((await run('service', 'revoke', 'board')).stdout).toBe('service board is revoked; 0 live sessions closed\n');
  });
});

describe('rollcall policy', () => {
  it('shows the default policy, sets another one, and explains what it allows', async () => {
    await fleet.enroll('cli-5', { group: 'quiet' });
    expect((await run('policy', 'show', 'quiet')).stdout).toContain('# policy of group/quiet (default)');
    const file = join(temporaryDirectory(), 'quiet.yaml');
    writeFileSync(file, 'connect: ["${device.id}"]\npublish: ["devices/${device.id}/telemetry/heartbeat"]\n');
    expect((await run('policy', 'set', 'quiet', file)).code).toBe(0);
    const explain = async (topic: string) => (await run('policy', 'explain', 'cli-5', 'publish', topic)).stdout;
    expect(await explain('devices/cli-5/telemetry/heartbeat')).toBe(
      'allowed by devices/${device.id}/telemetry/heartbeat\n',
    );
    expect(await explain('devices/cli-5/telemetry/temperature')).toBe('refused: no rule allows it\n');
  });

  it('lists policies, shows the versions of one, restores one of them, and removes it', async () => {
    const file = join(temporaryDirectory(), 'loud.yaml');
    for (const topic of ['a', 'b']) {
      writeFileSync(file, `publish: ["${topic}"]\n`);
      expect((await run('policy', 'set', 'loud', file)).code).toBe(0);
    }
    const lines = async () => (await run('policy', 'history', 'loud')).stdout.trimEnd().split('\n').slice(1);
    const first = (await lines())[1]?.split(' ')[0] as string;
    expect((await run('policy', 'show', 'loud', '--version', first)).stdout).toContain('publish:\n  - "a"\n');
    expect((await run('policy', 'restore', 'loud', first)).stdout).toContain(`is as in version ${first}`);
    expect((await run('policy', 'show', 'loud')).stdout).toContain('  - "a"\n');
    expect((await run('policy', 'list')).stdout).toMatch(/^group\/loud +its own +0 .*operator\/unix$/m);
    expect((await run('policy', 'remove', 'loud')).stdout).toContain('the built-in policy applies');
    expect((await lines()).map((line) => line.replace(/^\d+ +\S+ +/, ''))).toEqual([
      'operator/unix  removed',
      `operator/unix  set as version ${first}`,
      'operator/unix  set',
      'operator/unix  set',
    ]);
    expect(await run('policy', 'remove', 'loud')).toMatchObject({ code: 3 });
    expect(await run('policy', 'restore', 'loud', '999999')).toMatchObject({ code: 3 });
    expect((await run('policy', 'history', 'never')).stderr).toContain('no policy of group/never was ever set');
  });

  it('explains a shared subscription by its filter', async () => {
    const explain = async (...asked: string[]) => (await run('policy', 'explain', ...asked)).stdout;
    expect(await explain('service/any', 'subscribe', '$share/workers/devices/+/telemetry/+')).toBe(
      'allowed by devices/+/telemetry/+ (a shared subscription is decided by its filter devices/+/telemetry/+)\n',
    );
    expect(await explain('service/any', 'subscribe', '$share/workers/#')).toBe(
      'refused: no rule allows it (a shared subscription is decided by its filter #)\n',
    );
    expect(await explain('service/any', 'subscribe', '$share/workers')).toBe(
      'refused: it is not a topic that MQTT allows here\n',
    );
    expect(await explain('service/any', 'subscribe', '$queue/devices/+/telemetry/+')).toBe(
      'refused: only the server uses this topic\n',
    );
  });

  it.each([
    ['an unknown variable', 'publish: ["devices/${device.name}/x"]\n', /device\.name/],
    ['an unknown verb', 'publsh: []\n', /publsh/],
    ['a bad filter', 'subscribe: ["a/#/b"]\n', /a\/#\/b/],
    ['a shared subscription', 'subscribe: ["$share/g/a"]\n', /without \$share\/GROUP\/ in front/],
    ['no YAML', 'a: [', /rollcall: error/],
    ['nothing in it', '', 'expected a mapping'],
    ['a list', '- connect', 'expected a mapping'],
    ['a scope of its own', 'kind: group\nname: other\nconnect: []\n', 'expected a mapping'],
  ])('refuses a policy with %s', async (_, text, complaint) => {
    const file = join(temporaryDirectory(), 'policy.yaml');
    writeFileSync(file, text);
    const { code, stderr } = await run('policy', 'set', 'quiet', file);
    expect(code).toBe(3);
    expect(stderr).toMatch(complaint);
  });
});

describe('rollcall simulate', () => {
  it('creates a token for itself, runs a fleet and reports the result', async () => {
    const { stdout, code } = await run('simulate', '--devices', '5', '--rate', '5', '--seconds', '2', '--json');
    const report = JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<string, unknown>;
    expect(report).toMatchObject({ event: 'report', devices: 5, enrolled: 5, failed: 0, ended: 'time is up' });
    expect(report.acknowledged).toBeGreaterThan(0);
    expect(code).toBe(0);
  });

  it('reports that a token has no uses left', async () => {
    const { stdout, code } = await rollcall(
      ['simulate', '--devices', '3', '--seconds', '2', '--token', '-', '--json'],
      { stdin: await fleet.mint() },
    );
    const report = JSON.parse(stdout.trim().split('\n').at(-1) as string) as { enrolled: number; errors: object };
    expect(report).toMatchObject({ enrolled: 1 });
    expect(Object.keys(report.errors)).toContain('token_rejected');
    expect(code).toBe(1);
  });
});

describe('rollcall audit', () => {
  it('lists actors and actions, newest first', async () => {
    await fleet.enroll('cli-6');
    const { stdout } = await run('audit', 'list', '--limit', '2', '--json');
    const actions = stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { action: string }).action);
    expect(actions).toEqual(['device.enrolled', 'token.minted']);
  });
});

describe('rollcall', () => {
  it.each([
    [['tokn'], 2, "unknown command 'tokn'"],
    [[], 2, 'expected a command'],
    [['token', 'create', '--usse', '1'], 2, "unknown option '--usse'"],
    [['serve', '--mqtt-port', '70000'], 2, 'expected a whole number from 0 to 65535'],
    [['token', 'list', '--data', '/nowhere'], 4, 'no running Rollcall server was found'],
    [['token', 'list', '--socket', '/nowhere/console.sock'], 4, 'no running Rollcall server was found'],
  ])('%j ends with exit code %d', async (args, code, complaint) => {
    const ended = await rollcall(args as string[]);
    expect(ended.stderr).toContain(complaint);
    expect(ended.stderr).toMatch(/^rollcall: hint: /m);
    expect([ended.code, ended.stdout]).toEqual([code, '']);
  });

  it('prints its version and its help on standard output', async () => {
    expect((await rollcall(['--version'])).stdout).toMatch(
      /^\d+\.\d+\.\d+\nnode \d+\.\d+\.\d+\nbun (\d+\.\d+\.\d+|not installed)\n$/,
    );
    expect((await rollcall(['token', 'create', '--help'])).stdout).toContain('--uses <n>');
  });
});
