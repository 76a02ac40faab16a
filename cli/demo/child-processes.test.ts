import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { isGone } from '../../test/fixtures/processes.ts';
import { startProcess } from '../../test/fixtures/started-processes.ts';

it.runIf(process.platform === 'linux')('a child process ends when its parent is killed', async () => {
  const script = `
    import { spawnChild } from './cli/demo/child-processes.ts';
    const child = spawnChild(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { atParentsDeath: 'SIGTERM' });
    console.log(child.pid);
    setInterval(() => {}, 1000);`;
  const parent = startProcess(process.execPath, ['--input-type=module', '-e', script], {
    cwd: new URL('../..', import.meta.url),
  });
  const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
  const pid = Number(line);
  expect(isGone(pid)).toBe(false);
  parent.kill('SIGKILL');
  await expect.poll(() => isGone(pid)).toBe(true);
});
