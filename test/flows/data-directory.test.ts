/** A data directory belongs to one user and to one process at a time. Tested with the real program. */

import { execSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openConsoleClient } from '../../console/client.ts';
import { lockDirectory } from '../../storage/index.ts';
import { type RunningServer, rollcall, serve } from '../fixtures/program.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';
import { treeSnapshot } from '../fixtures/tree-snapshot.ts';

const FREE_PORTS = ['--enroll-port', '0', '--mqtt-port', '0', '--console-port', '0'];

async function served(data = join(temporaryDirectory(), 'data')): Promise<RunningServer & { readonly data: string }> {
  const server = await serve(data);
  onTestFinished(async () => {
    await server.end('SIGKILL');
  });
  return { ...server, data };
}

/** Readers of an SQLite database mark in its shared memory which part of the log they read. */
function withoutSharedMemory(tree: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(tree).filter(([name]) => !name.endsWith('-shm')));
}

describe('a data directory that other users can enter', () => {
  it.each(['0777', '0750', '0701', '0720'])('is refused with mode %s, and nothing is created in it', async (octal) => {
    const mode = Number.parseInt(octal, 8);
    const data = join(temporaryDirectory(), 'data of a fleet');
    mkdirSync(data);
    chmodSync(data, mode);
    const { code, stderr } = await rollcall(['serve', '--data', data, ...FREE_PORTS]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${data}: expected mode 0700, found ${octal}`);
    expect(stderr).toContain(`rollcall: hint: chmod 700 '${data}'`);
    expect(readdirSync(data)).toEqual([]);
    expect(statSync(data).mode & 0o777).toBe(mode);
  });

  it('is accepted with its contents after the command that the refusal names', async () => {
    const { data, end } = await served();
    await end('SIGTERM');
    chmodSync(data, 0o755);
    const { code, stderr } = await rollcall(['serve', '--data', data, ...FREE_PORTS]);
    const [, hint = ''] = /hint: (.+)/.exec(stderr) ?? [];
    expect([code, hint]).toEqual([1, `chmod 700 ${data}`]);
    execSync(hint);
    await served(data);
  });

  it.runIf(process.geteuid?.() === 0)('is refused when it is another user’s, and nothing is made in it', async () => {
    const data = join(temporaryDirectory(), 'data');
    mkdirSync(data, { mode: 0o700 });
    chownSync(data, 65_534, 65_534);
    const { code, stderr } = await rollcall(['serve', '--data', data, ...FREE_PORTS]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${data}: expected user 0 as its owner, found 65534`);
    expect(stderr).toContain(`rollcall: hint: chown -R 0 ${data}`);
    expect(readdirSync(data)).toEqual([]);
  });
});

describe('a data directory in use', () => {
  it.each([
    ['whose socket answers', () => {}],
    ['whose socket was moved', (data: string) => renameSync(join(data, 'console.sock'), `${data}.sock`)],
    ['whose socket was deleted', (data: string) => rmSync(join(data, 'console.sock'))],
  ])('%s is refused to a second server, which names the first and changes nothing', async (_, change) => {
    const { data, pid } = await served();
    change(data);
    process.kill(pid, 'SIGSTOP'); // so that the server writes nothing in the meantime
    const before = treeSnapshot(data);
    const environment = { ROLLCALL_HEALTH_LISTEN: 'true', ROLLCALL_HEALTH_PORT: '0' };
    const { code, stderr } = await rollcall(['serve', '--data', data, ...FREE_PORTS], { environment });
    expect(code).toBe(1);
    expect(stderr).not.toContain('probes are answered');
    expect(stderr).toContain('rollcall: error: another process of Rollcall uses this data directory');
    expect(stderr).toContain(`${data} is locked by process ${pid}\n`);
    expect(treeSnapshot(data)).toEqual(before);
  });

  it('has no audit entry of a refused second server, and the first server continues', async () => {
    const { data, ready } = await served();
    const operator = openConsoleClient({ socketPath: ready.socket });
    onTestFinished(() => operator.close());
    const before = await operator.listAudit({});
    expect((await rollcall(['serve', '--data', data, ...FREE_PORTS])).code).toBe(1);
    expect(await operator.listAudit({})).toEqual(before);
    await operator.createToken({ uses: 1 });
    expect(await operator.listAudit({})).not.toEqual(before);
  });

  it('is locked by exactly one of three servers that start at once', async () => {
    const data = join(temporaryDirectory(), 'data');
    const started = await Promise.allSettled([1, 2, 3].map(() => serve(data)));
    const running = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const refused = started.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));
    await Promise.all(running.map(({ end }) => end('SIGTERM')));
    expect(running).toHaveLength(1);
    for (const said of refused) expect(said).toContain('"code":"data_directory_busy"');
  });

  it('is free when its server was killed, even if another process has its process id', async () => {
    const { data, pid, end } = await served();
    expect(readFileSync(join(data, 'server.pid'), 'utf8')).toBe(`${pid}\n`);
    await end('SIGKILL');
    writeFileSync(join(data, 'server.pid'), `${process.pid}\n`);
    const again = await served(data);
    expect(readFileSync(join(data, 'server.pid'), 'utf8')).toBe(`${again.pid}\n`);
    await again.end('SIGTERM');
    expect(existsSync(join(data, 'server.pid'))).toBe(false);
  });

  it('can be backed up but not restored into, and neither can one that another restore is writing', async () => {
    const { data, pid } = await served();
    const parent = temporaryDirectory();
    const [file, passphrase, copy] = ['fleet.tar', 'passphrase', 'copy'].map((name) => join(parent, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(passphrase, 'a passphrase of this test\n', { mode: 0o600 });
    const secret = ['--passphrase-file', passphrase];
    process.kill(pid, 'SIGSTOP');
    const inUse = withoutSharedMemory(treeSnapshot(data));
    expect((await rollcall(['backup', file, '--data', data, ...secret])).code).toBe(0);
    expect(withoutSharedMemory(treeSnapshot(data))).toEqual(inUse);

    const before = treeSnapshot(data);
    const onto = await rollcall(['restore', file, '--data', data, ...secret]);
    expect([onto.code, onto.stderr]).toEqual([1, expect.stringContaining('expected an empty directory or none')]);
    expect(treeSnapshot(data)).toEqual(before);
    process.kill(pid, 'SIGCONT');

    const draft = `${copy}.partial`;
    mkdirSync(draft, { mode: 0o700 });
    writeFileSync(join(draft, 'registry.db'), 'half of it');
    const other = lockDirectory(draft);
    const halfWay = treeSnapshot(draft);
    const second = await rollcall(['restore', file, '--data', copy, ...secret]);
    expect([second.code, second.stderr]).toEqual([1, expect.stringContaining(`locked by process ${process.pid}`)]);
    expect(treeSnapshot(draft)).toEqual(halfWay);
    other.release();

    // Files that a killed restore left behind do not prevent another one.
    expect((await rollcall(['restore', file, '--data', copy, ...secret])).code).toBe(0);
    expect(existsSync(draft)).toBe(false);
    expect(existsSync(join(copy, 'server.pid'))).toBe(false);
    await served(copy);
  });
});
