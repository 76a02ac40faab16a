/** What the Debian package installs beside the program: its unit, its settings, its scripts. .ci/package installs the package itself. */

import { chmodSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { loadConfig } from '../../server/config/load.ts';
import { describeWithClients, succeed } from '../../test/fixtures/real-client.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

const FILES = fileURLToPath(new URL('files/', import.meta.url));
const UNITS = '/usr/lib/systemd/system';
const unit = readFileSync(join(FILES, 'rollcall.service'), 'utf8');

/** A root with the unit, the units of systemd that it names, and programs that exist. */
function rootWithUnit(): string {
  const root = temporaryDirectory();
  const place = (path: string) => {
    mkdirSync(join(root, path, '..'), { recursive: true });
    return join(root, path);
  };
  for (const program of ['usr/bin/rollcall', 'bin/kill']) {
    writeFileSync(place(program), '#!/bin/sh\n');
    chmodSync(join(root, program), 0o755);
  }
  for (const name of readdirSync(UNITS)) {
    if (/\.(target|slice)$/.test(name)) cpSync(join(UNITS, name), place(`${UNITS}/${name}`));
  }
  writeFileSync(place('lib/systemd/system/rollcall.service'), unit);
  return root;
}

describeWithClients('the unit of the server', ['systemd-analyze'], () => {
  it('is valid for systemd', async () => {
    const root = rootWithUnit();
    const verify = ['verify', '--man=no', '--no-pager', `--root=${root}`, 'rollcall.service'];
    const { stdout, stderr } = await succeed('systemd-analyze', verify, { directory: root });
    expect(stdout + stderr).toBe('');
  });

  it('has an exposure of at most 1.5, of 10', async () => {
    const security = ['security', '--offline=true', '--threshold=15', '--no-pager', join(FILES, 'rollcall.service')];
    await succeed('systemd-analyze', security, { directory: temporaryDirectory() });
  });
});

it('the unit allows a stop as much time as the server may take', () => {
  const { drain } = loadConfig({ file: undefined, environment: {}, flags: [] });
  const [, seconds] = /^TimeoutStopSec=(\d+)$/m.exec(unit) ?? [];
  expect(Number(seconds) * 1_000).toBeGreaterThanOrEqual(drain.within + 30_000);
});

it('the installed settings are the defaults, with the data directory that the unit creates', () => {
  const installed = loadConfig({ file: join(FILES, 'rollcall.yaml'), environment: {}, flags: [] });
  const defaults = loadConfig({ file: undefined, environment: {}, flags: [] });
  expect(installed).toEqual({ ...defaults, data: '/var/lib/rollcall' });
});

it.each(['rollcall', 'postinst', 'prerm', 'postrm'])('%s is a valid script', async (name) => {
  await succeed('bash', ['--posix', '-n', join(FILES, name)], { directory: temporaryDirectory() });
});
