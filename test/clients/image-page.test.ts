/**
 * Runs the shell of docs/image.md. The gateway is a fresh root file system of this machine: the replacements of `scp` and
 * `ssh` copy into it and enter it, and the replacement of systemd starts the unit's program.
 */

import { chmodSync, copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { AS_SYSTEMD } from '../fixtures/as-systemd.ts';
import { runDocumentedShell } from '../fixtures/documented-shell.ts';
import { startFleet } from '../fixtures/fleet.ts';
import { canEnterRoots, type FreshRoot, freshRoot } from '../fixtures/fresh-root.ts';
import { describeWithClients } from '../fixtures/real-client.ts';
import { temporaryDirectory } from '../fixtures/temporary.ts';

const page = new URL('../../docs/image.md', import.meta.url);
const programs = fileURLToPath(new URL('../../bin', import.meta.url));

/** A root file system with Node, sudo, and the parts of systemd that the installer uses. */
function gateway(): FreshRoot {
  const root = freshRoot();
  for (const name of ['var/lib/private/rollcall-device', 'run/rollcall-device', 'run/systemd/system']) {
    mkdirSync(join(root.path, name), { recursive: true });
  }
  copyFileSync(process.execPath, join(root.path, 'local/bin/node'));
  chmodSync(join(root.path, 'local/bin/node'), 0o755);
  script(join(root.path, 'local/bin/sudo'), 'exec "$@"');
  // As for a unit of Type=notify, it returns when the service is ready.
  script(
    join(root.path, 'local/bin/systemctl'),
    '[ "$1" = restart ] || exit 0\ntouch /run/asked-to-start\nfor n in $(seq 400); do [ -S /run/rollcall-device/device.sock ] && exit 0; sleep 0.05; done; exit 1',
  );
  return root;
}

function script(file: string, text: string): void {
  writeFileSync(file, `#!/bin/sh\nset -e\n${text}\n`);
  chmodSync(file, 0o755);
}

function quoted(words: readonly string[]): string {
  return words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
}

/** Starts the unit as systemd does when the installer asks for it. Ends with the test. */
function systemdOf(root: FreshRoot): void {
  const looking = setInterval(() => {
    if (!existsSync(join(root.path, 'run/asked-to-start'))) return;
    clearInterval(looking);
    root.start(['sh', '-c', AS_SYSTEMD]);
  }, 20);
  onTestFinished(() => clearInterval(looking));
}

describeWithClients('docs/image.md', ['bash'], () => {
  it.runIf(canEnterRoots())(
    'turns a gateway into a device with the commands of the page',
    async () => {
      const fleet = await startFleet({ settings: [[['publicHosts'], ['fleet.example.net']]] });
      onTestFinished(() => fleet.stop());
      const root = gateway();
      writeFileSync(join(root.path, 'etc/hosts'), '127.0.0.1 fleet.example.net\n');
      systemdOf(root);
      const hosts = temporaryDirectory();
      script(join(hosts, 'scp'), `[ "$1 $3" = '-r gateway:' ]\nexec cp -R "$2" ${quoted([join(root.path, 'root/')])}`);
      script(
        join(hosts, 'ssh'),
        `[ "$1" = gateway ]; shift\nexport PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexec ${quoted(root.entrance)} sh -c "cd /root; $*"`,
      );
      const run = await runDocumentedShell({
        page,
        heading: 'Ten minutes, from nothing to a device',
        directory: temporaryDirectory(),
        environment: { ROLLCALL_DATA: fleet.data, PATH: [hosts, programs, process.env.PATH].join(delimiter) },
      });
      expect(run).toBe(1);
      const [device, ...others] = await fleet.operator.listDevices({});
      expect(others).toEqual([]);
      expect(device).toMatchObject({ group: 'press' });
      const said = await fleet.operator.queryTelemetry({ device: device?.id as never });
      expect(said.map(({ stream, payload }) => [stream, payload])).toEqual([['temperature', 21.5]]);
    },
    180_000,
  );
});
