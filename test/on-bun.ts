/**
 * The short form of the tests on Bun: `node bin/pinned.js test/on-bun.ts [JSON_FILE JSON_FILE]`. First servers as processes on Bun
 * with clients on Node, then the broker's own tests with both sides on Bun. The files get the results. Exit code 1 when a
 * test failed, or when Bun is not installed.
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { BUN_OPTIONS, findBun } from '../cli/bun.ts';

const SERVERS_ON_BUN = [
  'test/clients/curl.test.ts',
  'test/clients/gnutls.test.ts',
  'test/crash/crash.test.ts',
  'test/flows/ca-rotation.test.ts',
  'test/flows/certificate-revocation.test.ts',
  'test/flows/device-lifecycle.test.ts',
  'test/flows/expired-certificate-recovery.test.ts',
  'test/flows/issuance-durability.test.ts',
  'test/flows/message-keys.test.ts',
  'test/flows/request-flood.test.ts',
  'test/flows/server-certificates.test.ts',
];

/** In threads: Vitest's processes need a channel that Bun does not have. */
const WHOLLY_ON_BUN = [
  'broker/access',
  'broker/mqtt',
  'broker/sessions/revocation.test.ts',
  'limits/proxied-connections.test.ts',
  'limits/socket-http-server.test.ts',
];

const VITEST = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url));

function vitest(program: string, args: readonly string[], output: string | undefined): boolean {
  const reporters =
    output === undefined ? [] : ['--reporter=default', '--reporter=json', `--outputFile.json=${output}`];
  const { status } = spawnSync(program, [...args, ...reporters], {
    stdio: 'inherit',
    env: { ...process.env, ROLLCALL_TEST_RUNTIME: 'bun' },
  });
  return status === 0;
}

const bun = findBun();
if (bun === undefined) {
  process.stderr.write('expected Bun among the installed packages, found none\n');
  process.exit(1);
}
const [forServers, forBroker] = process.argv.slice(2);
const passed = [
  vitest(process.execPath, [VITEST, 'run', '--testTimeout=90000', ...SERVERS_ON_BUN], forServers),
  vitest(bun.path, [...BUN_OPTIONS, VITEST, 'run', '--pool=threads', ...WHOLLY_ON_BUN], forBroker),
];
process.exitCode = passed.every(Boolean) ? 0 : 1;
