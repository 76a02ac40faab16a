/** Images for gateways are made, verified, installed into a fresh root file system, started there, and interrupted. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AS_SYSTEMD } from '../fixtures/as-systemd.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { canEnterRoots, type FreshRoot, freshRoot } from '../fixtures/fresh-root.ts';
import { rollcall } from '../fixtures/program.ts';
import { describeWithClients, succeed } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

let fleet: TestFleet;
beforeAll(async () => {
  fleet = await startFleet();
});
afterAll(() => fleet?.stop());

/** Runs `rollcall image make` against the fleet, and returns the directory. */
async function make(...options: readonly string[]): Promise<string> {
  const out = join(temporaryDirectory(), 'image');
  const place = ['--socket', fleet.socket, '--out', out, '--allow-loopback'];
  const { code, stderr } = await rollcall(['image', 'make', ...place, ...options]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return out;
}

const verify = (directory: string) => rollcall(['image', 'verify', directory, '--allow-loopback']);

describe('rollcall image make', () => {
  it('writes one image for many devices, which contains everything that a gateway needs and no key', async () => {
    const out = await make('--group', 'press', '--uses', '50', '--listen', '1883');
    expect(readdirSync(out).sort()).toEqual([
      'device.conf',
      'firstrun.sh',
      'install.sh',
      'manifest.json',
      'rollcall-device.cjs',
      'rollcall-device.service',
      'root.pem',
      'token',
      'user-data',
    ]);
    expect(statSync(join(out, 'token')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(out, 'device.conf'), 'utf8')).toContain('listen = 127.0.0.1:1883');
    const [token] = (await fleet.operator.listTokens()).filter(({ group }) => group === 'press');
    expect(token).toMatchObject({ maxUses: 50, state: 'usable' });
    expect(await verify(out)).toMatchObject({ code: 0, stdout: 'the image is valid\n' });
  });

  it('writes a kit for each device, with a token for that device only, and a list of the kits', async () => {
    const ids = join(temporaryDirectory(), 'ids');
    writeFileSync(ids, '# serial numbers\nSN-100\nSN-101\n');
    const out = await make('--ids', ids);
    expect(readdirSync(join(out, 'kits'))).toEqual(['SN-100', 'SN-101']);
    const [header, first] = readFileSync(join(out, 'kits.csv'), 'utf8').split('\n');
    expect(header).toBe('device,token_id,expires_at,directory');
    const [device, tokenId] = (first as string).split(',');
    const tokens = await fleet.operator.listTokens();
    expect(tokens.find(({ id }) => id === tokenId)).toMatchObject({ device, maxUses: 1 });
    expect(await verify(out)).toMatchObject({ code: 0, stdout: '2 kits are valid\n' });
  });

  it('numbers its devices when asked to', async () => {
    const out = await make('--count', '3', '--prefix', 'well-');
    expect(readdirSync(join(out, 'kits'))).toEqual(['well-0001', 'well-0002', 'well-0003']);
  });

  it.each([
    ['neither one image nor kits', [], 'expected one of --uses'],
    ['both', ['--uses', '2', '--count', '2'], 'expected one of --uses'],
    ['ids that are none', ['--count', '2', '--prefix', 'a/b'], 'expected device ids of'],
    ['a Node that is not there', ['--uses', '1', '--node', '/nowhere/node'], 'ENOENT'],
    ['a token that lives too long', ['--uses', '1', '--ttl', '31d'], 'expected at most 30d'],
  ])('refuses %s, and leaves neither files nor a token behind', async (_, options, complaint) => {
    const parent = temporaryDirectory();
    const before = (await fleet.operator.listTokens()).filter(({ state }) => state === 'usable').length;
    const place = ['--socket', fleet.socket, '--out', join(parent, 'image'), '--allow-loopback'];
    const args = ['image', 'make', ...place, ...options];
    const { code, stderr } = await rollcall(args);
    expect(code).not.toBe(0);
    expect(stderr).toContain(complaint);
    expect(readdirSync(parent)).toEqual([]);
    expect((await fleet.operator.listTokens()).filter(({ state }) => state === 'usable')).toHaveLength(before);
  });

  it('overwrites no existing file', async () => {
    const parent = temporaryDirectory();
    writeFileSync(join(parent, 'precious'), '');
    const place = ['--socket', fleet.socket, '--out', parent, '--allow-loopback'];
    const { code, stderr } = await rollcall(['image', 'make', ...place, '--uses', '1']);
    expect(code).not.toBe(0);
    expect(stderr).toContain('expected an empty directory');
  });
});

describe('rollcall image verify', () => {
  it.each([
    ['a program that was changed', 'rollcall-device.cjs', 'it does not match the manifest'],
    ['settings that were changed', 'device.conf', 'it does not match the manifest'],
    ['a root that was changed', 'root.pem', 'root.pem: expected the root'],
  ])('finds %s', async (_, name, fault) => {
    const out = await make('--uses', '1');
    writeFileSync(join(out, name), '# other\n');
    const { code, stdout } = await verify(out);
    expect(code).not.toBe(0);
    expect(stdout).toContain(fault);
  });

  it('finds a file that is missing, one too many, a key, a token of another image, and one that others can read', async () => {
    const [out, other] = [await make('--uses', '1'), await make('--uses', '1')];
    writeFileSync(join(out, 'extra'), '-----BEGIN PRIVATE KEY-----');
    writeFileSync(join(out, 'token'), readFileSync(join(other, 'token')));
    chmodSync(join(out, 'token'), 0o644);
    writeFileSync(join(out, 'user-data'), '-----BEGIN EC PRIVATE KEY-----\n');
    const { code, stdout } = await verify(out);
    expect(code).not.toBe(0);
    expect(stdout).toContain('extra: it is not in the manifest');
    expect(stdout).toMatch(/token: expected token \w+, found \w+/);
    expect(stdout).toContain('token: expected mode 600, found 644');
    expect(stdout).toContain('user-data: expected no private key');
  });

  it('finds a token that has expired', async () => {
    const out = await make('--uses', '1');
    const manifest = JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'));
    manifest.token.expiresAt = '2020-01-01T00:00:00.000Z';
    writeFileSync(join(out, 'manifest.json'), JSON.stringify(manifest));
    expect((await verify(out)).stdout).toContain('it expired at 2020');
  });

  it('reports that a directory is not an image', async () => {
    const { code, stderr } = await verify(temporaryDirectory());
    expect(code).not.toBe(0);
    expect(stderr).toContain('found no manifest.json');
  });
});

describeWithClients('the systemd unit', ['systemd-analyze'], () => {
  it('is valid for systemd, and restricts what the agent can access', async () => {
    const directory = temporaryDirectory();
    const out = await make('--uses', '1');
    const unit = join(out, 'rollcall-device.service');
    const security = ['security', '--offline=true', '--threshold=20', '--no-pager', unit];
    await succeed('systemd-analyze', security, { directory });
  });
});

/** Resolves when the process and its children have ended. */
async function cutPower(machine: ChildProcess): Promise<void> {
  machine.kill('SIGKILL');
  if (machine.exitCode === null && machine.signalCode === null) await once(machine, 'exit');
  // Child processes hold these open until they have ended too.
  for (const output of [machine.stdout, machine.stderr]) {
    output?.resume();
    if (output !== null && !output.readableEnded) await once(output, 'end');
  }
}

describe.runIf(canEnterRoots())('a gateway', () => {
  /** Copies the image to where the first boot finds it. */
  function flash(image: string): FreshRoot {
    const root = freshRoot();
    for (const name of ['boot/rollcall', 'var/lib/private/rollcall-device', 'run/rollcall-device']) {
      mkdirSync(join(root.path, name), { recursive: true });
    }
    for (const name of readdirSync(image)) {
      const file = join(root.path, 'boot/rollcall', name);
      writeFileSync(file, readFileSync(join(image, name)), { mode: statSync(join(image, name)).mode });
    }
    return root;
  }

  /** Starts the installed agent as systemd would, and waits until it has connected. */
  async function boot(root: FreshRoot, id: string): Promise<void> {
    const agent = root.start(['sh', '-c', AS_SYSTEMD]);
    await new Promise<void>((resolve, reject) => {
      let said = '';
      agent.stderr?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes('"state":"connected"')) resolve();
      });
      agent.once('close', () => reject(new Error(`the agent ended: ${said}`)));
    });
    const { session } = await fleet.operator.showDevice({ id });
    expect(session).toBeDefined();
    await cutPower(agent);
  }

  it('is a device of the fleet after install.sh, and stays the same device when it is installed again', async () => {
    const ids = join(temporaryDirectory(), 'ids');
    writeFileSync(ids, 'gw-1\n');
    const out = await make('--ids', ids, '--node', process.execPath);
    const root = flash(join(out, 'kits/gw-1'));
    const installed = await root.run(['sh', '/boot/rollcall/install.sh']);
    expect(installed).toMatchObject({ code: 0, stdout: expect.stringContaining('it starts with the machine') });
    expect(statSync(join(root.path, 'etc/rollcall-device/token')).mode & 0o777).toBe(0o600);
    expect(existsSync(join(root.path, 'etc/systemd/system/multi-user.target.wants/rollcall-device.service'))).toBe(
      true,
    );
    await boot(root, 'gw-1');
    const again = await root.run(['sh', '/boot/rollcall/install.sh']);
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('its identity stays') });
    await boot(root, 'gw-1');
    const { certificates } = await fleet.operator.showDevice({ id: 'gw-1' });
    expect(certificates).toHaveLength(1);
  });

  it('has the same state in the end, however often power fails during its installation and first boot', async () => {
    const ids = join(temporaryDirectory(), 'ids');
    writeFileSync(ids, 'gw-2\n');
    const out = await make('--ids', ids, '--node', process.execPath);
    const root = flash(join(out, 'kits/gw-2'));
    for (const milliseconds of [5, 20, 40, 80, 150, 300]) {
      const installing = root.start(['sh', '/boot/rollcall/install.sh']);
      await delay(milliseconds); // the moment of the power cut
      await cutPower(installing);
    }
    expect(await root.run(['sh', '/boot/rollcall/install.sh'])).toMatchObject({ code: 0 });
    for (const milliseconds of [60, 120, 180, 240, 300, 400]) {
      const agent = root.start(['sh', '-c', AS_SYSTEMD]);
      await delay(milliseconds);
      await cutPower(agent);
    }
    await boot(root, 'gw-2');
    const tokens = await fleet.operator.listTokens();
    expect(tokens.find(({ device }) => device === 'gw-2')).toMatchObject({ uses: 1 });
  });

  it('is not installed with a Node that is too old, and the error names the remedy', async () => {
    const root = flash(await make('--uses', '1'));
    mkdirSync(join(root.path, 'old'));
    writeFileSync(join(root.path, 'old/node'), '#!/bin/sh\necho v18.19.0\n', { mode: 0o755 });
    const refused = await root.run(['env', 'PATH=/old:/usr/bin:/bin', 'sh', '/boot/rollcall/install.sh']);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('expected Node 20 or newer, found 18') });
    expect(existsSync(join(root.path, 'opt/rollcall-device'))).toBe(false);
  });

  it('can be prepared from another machine, and its first boot removes the token from the boot partition', async () => {
    const image = await make('--uses', '1', '--node', process.execPath);
    const root = flash(image);
    const outside = await root.run(['sh', '/boot/rollcall/install.sh', '--root', '/nowhere']);
    expect(outside).toMatchObject({ code: 1, stderr: expect.stringContaining('expected a directory') });
    expect(await root.run(['sh', '/boot/rollcall/firstrun.sh'])).toMatchObject({ code: 0 });
    expect(existsSync(join(root.path, 'boot/rollcall/token'))).toBe(false);
    expect(existsSync(join(root.path, 'etc/rollcall-device/token'))).toBe(true);
  });
});
