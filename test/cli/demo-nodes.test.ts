/** `rollcall demo --nodes`: real nodes over a real quorum, one of them killed, and nothing left at the end. */

import { once } from 'node:events';
import { chmodSync, readdirSync, readFileSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { collect, ended } from '../fixtures/child-process.ts';
import { isGone } from '../fixtures/processes.ts';
import { rollcall, start } from '../fixtures/program.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const PATIENCE_MS = 180_000;

describeWithClients('rollcall demo --nodes', ['postgres'], () => {
  it(
    'revokes a device of another node, connects devices of a killed node to the others, and leaves no process and no file at Ctrl-C',
    async () => {
      const TMPDIR = temporaryDirectory();
      chmodSync(TMPDIR, 0o711); // the user of PostgreSQL enters it
      const demo = start(['demo', '--nodes', '2'], { environment: { TMPDIR } }, PATIENCE_MS);
      onTestFinished(() => void demo.kill('SIGKILL'));
      const [stdout, stderr] = [collect(demo.stdout), collect(demo.stderr)];
      const exited = once(demo, 'exit');
      const untilNoted = async (text: RegExp) => {
        while (!text.test(stderr()) && demo.exitCode === null) {
          await Promise.race([once(demo.stderr as NodeJS.ReadableStream, 'data'), exited]);
        }
        return text.exec(stderr()) ?? expect.fail(`expected ${text}, found ${stderr()}`);
      };
      const [, pid] = await untilNoted(/kill -9 (\d+): node-2 ends/);
      const processes = descendantsOf(demo.pid as number);
      // Two nodes, three servers of PostgreSQL, and processes of these.
      expect(processes.length).toBeGreaterThan(10);
      process.kill(Number(pid), 'SIGKILL');
      await untilNoted(/node-2 ended by SIGKILL/);
      await untilNoted(/all devices are connected again after/);
      processes.push(...descendantsOf(demo.pid as number));

      demo.kill('SIGINT');
      expect((await ended(demo, stdout, stderr)).code, stderr()).toBe(0);
      expect(stdout()).toMatch(/^16 of 16 devices enrolled at 2 nodes and connected over mutual TLS$/m);
      expect(stdout()).toMatch(/^[1-9]\d* messages acknowledged .*; 0 of them are missing, 0 are stored twice$/m);
      expect(stdout()).toMatch(
        /^demo-[12]-000\d was revoked on node-[12]: .* its session on node-[12] was closed after \d+ ms/m,
      );
      await expect.poll(() => processes.filter((one) => !isGone(one))).toEqual([]);
      expect(readdirSync(TMPDIR)).toEqual([]);
    },
    PATIENCE_MS,
  );

  it('refuses a directory that exists, and does not remove it', async () => {
    const directory = temporaryDirectory();
    const { code, stderr } = await rollcall(['demo', '--nodes', '2', '--directory', directory]);
    expect(stderr).toContain(`expected a new directory, and not ${directory}: it exists`);
    expect(code).toBe(2);
    expect(readdirSync(directory)).toEqual([]);
  });
});

function descendantsOf(pid: number): number[] {
  const text = isGone(pid) ? '' : readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const children = text.split(' ').filter(Boolean).map(Number);
  return children.flatMap((child) => [child, ...descendantsOf(child)]);
}
