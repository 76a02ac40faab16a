/** The agent on a full disk and on a read-only one: a file system of its own, mounted by root. */

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AgentPlace, type AgentProgram, buildAgentProgram } from '../fixtures/device-agent.ts';
import { startFleet, type TestFleet } from '../fixtures/fleet.ts';
import { startProcess } from '../fixtures/started-processes.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const workshop = mkdtempSync(join(tmpdir(), 'rollcall-disk-'));
let program: AgentProgram;
let fleet: TestFleet;
beforeAll(async () => {
  [program, fleet] = await Promise.all([buildAgentProgram(workshop), startFleet()]);
});
afterAll(async () => {
  await fleet?.stop();
  rmSync(workshop, { recursive: true, force: true });
});

/** Whether the test may mount a file system. */
function canMount(): boolean {
  const script = 'mount -t tmpfs -o size=64k tmpfs "$1"';
  return (
    process.platform === 'linux' &&
    spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', tmpdir()], { stdio: 'ignore' }).status === 0
  );
}

/** The state of an agent on a file system of the given size in kilobytes, in a mount namespace that ends with the test. */
async function disk(id: string, kilobytes: number) {
  const directory = temporaryDirectory();
  const configure = (...lines: readonly string[]) => program.configure(directory, [`id = ${id}`, ...lines]);
  const place = configure();
  mkdirSync(place.state, { mode: 0o700 });
  const script = 'mount -t tmpfs -o size="$2"k,mode=700 tmpfs "$1" && echo mounted && exec sleep 600';
  const holder = startProcess('unshare', ['--mount', 'sh', '-c', script, 'sh', place.state, String(kilobytes)]);
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const inside = ['nsenter', '--mount', '--target', String(holder.pid), '--'];
  return {
    configure,
    place: { ...place, run: () => place.run({}, inside) } satisfies AgentPlace,
    /** `size=4096k`, `ro` or `rw`. */
    remount: (option: string) => {
      const [nsenter = '', ...args] = [...inside, 'mount', '-o', `remount,${option}`, place.state];
      expect(spawnSync(nsenter, args).status).toBe(0);
    },
  };
}

describe.runIf(canMount())('a disk', () => {
  it('that is full makes the agent refuse messages, lose no accepted one, and continue when there is space', async () => {
    const { place, configure, remount } = await disk('full-1', 300);
    place.giveToken(await fleet.mint());
    // The broker is unreachable, so messages stay on the disk.
    configure('broker = mqtts://localhost:9');
    const agent = await place.run();
    await agent.reached('recovering');
    let taken = 0;
    let refusal = '';
    for (let count = 1; count <= 20 && refusal === ''; count += 1) {
      const { code, stderr } = await place.command(['publish', 'readings', '-'], `${count}`.padEnd(40_000, ' '));
      if (code === 0) taken = count;
      else refusal = stderr;
    }
    expect(refusal).toMatch(/could not be written to disk.*ENOSPC/);
    expect(taken).toBeGreaterThan(2);
    expect(JSON.parse((await place.command(['status', '--json'])).stdout).queue).toMatchObject({ messages: taken });
    remount('size=4096k');
    expect(await place.command(['publish', 'readings', '99'])).toMatchObject({ code: 0 });
    await agent.end('SIGTERM');
    configure();
    await place.run();
    expect(await place.command(['publish', 'readings', '100', '--wait'])).toMatchObject({ code: 0 });
    const messages = await fleet.operator.queryTelemetry({ device: 'full-1' });
    const counts = [...messages].sort((a, b) => a.position - b.position).map(({ payload }) => payload);
    expect(counts).toEqual([...Array.from({ length: taken }, (_, index) => index + 1), 99, 100]);
  });

  it('that became read-only leaves the device connected, and no accepted message is lost', async () => {
    const { place, remount } = await disk('ro-1', 2_048);
    place.giveToken(await fleet.mint());
    const agent = await place.run();
    await agent.reached('connected');
    expect(await place.command(['publish', 'readings', '1', '--wait'])).toMatchObject({ code: 0 });
    await agent.end('SIGTERM');
    remount('ro');
    const stuck = await place.run();
    await stuck.reached('connected');
    const refused = { code: 1, stderr: expect.stringMatching(/could not be written to disk.*EROFS/) };
    expect(await place.command(['publish', 'readings', '2'])).toMatchObject(refused);
    expect(await place.command(['publish', 'readings', '2', '--wait'])).toMatchObject(refused);
    expect(await place.command(['renew'])).toMatchObject({ code: 1, stderr: expect.stringContaining('EROFS') });
    expect(JSON.parse((await place.command(['status', '--json'])).stdout)).toMatchObject({ state: 'connected' });
    remount('rw');
    expect(await place.command(['publish', 'readings', '2', '--wait'])).toMatchObject({ code: 0 });
    const messages = await fleet.operator.queryTelemetry({ device: 'ro-1' });
    expect([...messages].sort((a, b) => a.position - b.position).map(({ payload }) => payload)).toEqual([1, 2]);
  });
});
