/**
 * Every command that asks a server does so by requests of the HTTP API, and docs/api.md names them: what a command can do, any other
 * client can. Each command runs here against a real console, behind a proxy that records its requests.
 */

import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, request, type Server } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildProgram, commandsOf, type NamedCommand } from '../../cli/program.ts';
import { type Endpoint, isAct } from '../../console/api/endpoint.ts';
import { endpoints } from '../../console/endpoints.ts';
import { openTestConsole, type TestConsole } from '../fixtures/console/test-console.ts';

const CA = 'a'.repeat(40);

/** Arguments of each command that asks a server; `DIR` is a directory of the test. */
const ARGUMENTS: Readonly<Record<string, readonly string[]>> = {
  'token create': [],
  'token list': [],
  'token revoke': ['0123456789abcdef'],
  'token issued': ['0123456789abcdef'],
  'token issued --revoke': ['0123456789abcdef', '--yes'],
  'device list': [],
  'device show': ['dev-1'],
  'device set': ['dev-1', '--label', 'site=north'],
  'device revoke': ['dev-9', '--reason', 'keyCompromise'],
  'device revoke --dry-run': ['dev-9', '--reason', 'keyCompromise'],
  'device suspend': ['dev-9'],
  'device resume': ['dev-9'],
  'device quarantine': ['dev-9'],
  'device disconnect': ['dev-9'],
  'device delete': ['dev-9'],
  'device command': ['dev-1', 'reboot'],
  'device twin get': ['dev-1'],
  'device twin set': ['dev-1', '{}'],
  'device twin set --replace': ['dev-1', '{}'],
  'device enroll': ['--out', 'DIR/device'],
  'image make': ['--out', 'DIR/image', '--uses', '1', '--allow-loopback'],
  'service issue': ['app', '--out', 'DIR/service'],
  'service list': [],
  'service revoke': ['app'],
  'certificates expiring': [],
  'certificates revoke': ['1a', '--reason', 'keyCompromise'],
  'operator add': ['ada', '--role', 'viewer'],
  'operator list': [],
  'operator disable': ['eve'],
  'operator reset': ['eve'],
  'operator link': ['ada'],
  'operator set-up-link': [],
  'operator session list': [],
  'operator session end': ['0123456789abcdef'],
  'operator key create': ['ada', '--out', 'DIR/ada.key'],
  'operator key list': [],
  'operator key revoke': ['0123456789abcdef'],
  'group profile show': ['pumps'],
  'group profile set': ['pumps', '--lifetime', '1d'],
  'policy show': ['pumps'],
  'policy set': ['pumps', 'DIR/policy.json'],
  'policy explain': ['dev-1', 'publish', 'a/b'],
  'policy list': [],
  'policy history': ['pumps'],
  'policy restore': ['pumps', '1'],
  'policy remove': ['pumps'],
  'telemetry tail': [],
  'telemetry query': ['--device', 'dev-1'],
  'telemetry last': ['--device', 'dev-1'],
  'telemetry series': ['--device', 'dev-1', '--stream', 's', '--since', '1h', '--bucket', '1m'],
  'telemetry export': [],
  'telemetry stats': [],
  'telemetry prune': [],
  'events tail': [],
  'events list': [],
  doctor: [],
  'top --once': ['--interval', '1s'],
  'node list': [],
  'node drain': ['w1'],
  'node token': [],
  'node token list': [],
  'node token revoke': ['0123456789abcdef'],
  'node undrain': ['w1'],
  'node remove': ['w1', '--force'],
  'sink list': [],
  'sink show': ['archive'],
  'sink replay': ['archive', '--from', '1'],
  'sink skip': ['archive'],
  'simulate devices': ['--keep', 'DIR/fleet', '--count', '1'],
  'simulate cleanup': ['--yes'],
  'ca show': [],
  'ca rotate prepare': [],
  'ca rotate activate': [CA],
  'ca rotate taint': [CA],
  'ca rotate retire': [CA],
  'ca csr': [],
  'ca import': ['DIR/policy.json'],
  'ca export-root': ['--out', 'DIR/root.key', '--passphrase-file', 'DIR/passphrase'],
  'renewals status': [],
  'renewals pull': ['--all'],
  'audit list': [],
  'audit verify': [],
  'audit export': [],
};

let fixture: TestConsole;
let recorder: Server;
let proxySocket: string;
let requests: string[] = [];
beforeAll(async () => {
  fixture = await openTestConsole();
  await fixture.enroll('dev-1');
  await fixture.enroll('dev-9');
  writeFileSync(join(fixture.dir, 'policy.json'), '{"publish":[]}');
  writeFileSync(join(fixture.dir, 'passphrase'), 'correct horse battery', { mode: 0o600 });
  recorder = createServer((incoming, response) => {
    requests.push(`${incoming.method} ${(incoming.url ?? '').split('?')[0]}`);
    const { method, headers, url: path } = incoming;
    const outgoing = request({ socketPath: fixture.options.socketPath, method, path, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      recorder.emit('asked');
      answer.on('error', () => response.destroy()).pipe(response);
    });
    outgoing.on('error', () => response.destroy());
    incoming.pipe(outgoing);
  });
  proxySocket = join(fixture.dir, 'recorder.sock');
  recorder.listen(proxySocket);
  await once(recorder, 'listening');
});
afterAll(async () => {
  recorder.closeAllConnections();
  recorder.close();
  await fixture.close();
});

/** Each command, and its requests in alphabetical order. */
const documented: ReadonlyMap<string, string> = new Map(
  [
    ...readFileSync(new URL('../../docs/api.md', import.meta.url), 'utf8').matchAll(
      /^\| `rollcall ([^`]+)` \| (.*) \|$/gm,
    ),
  ].map(([, name = '', routes = '']) => [name, routes.replaceAll('`', '')]),
);
/** Hidden from help. */
const FORMER_NAMES: ReadonlySet<string> = new Set(['token mint', 'token void', 'token blast']);
/** They do not end by themselves. */
const STREAMS: ReadonlySet<string> = new Set(['telemetry tail', 'events tail']);
const NOT_RECORDED: ReadonlySet<string> = new Set([
  'POST /v1/ca/root/forget', // of `ca export-root`, once the root is in its file
  'PATCH /v1/devices/:id/settings', // `device set` changes them without a condition
  'POST /v1/simulations', // `simulate --scenario` needs no server
  'POST /v1/simulations/:id/stop',
]);
/** Those without parameters first: `/v1/certificates/expiring` is no serial. */
const all = Object.values<Endpoint>(endpoints).sort((a, b) => a.path.split(':').length - b.path.split(':').length);

function routeOf(line: string): string {
  const [method, path = ''] = line.split(' ');
  const route = all.find(
    (each) => each.method === method && new RegExp(`^${each.path.replace(/:[a-z]+/g, '[^/]+')}$`).test(path),
  );
  return route === undefined ? `${line}, which is no route` : `${route.method} ${route.path}`;
}

/** Routes that a command asks for, until it ends or waits for more of a stream. */
async function routesOf(name: string): Promise<readonly string[]> {
  const program = await buildProgram(name.split(' ')[0]);
  for (const { command } of commandsOf(program)) command.exitOverride();
  const args = (ARGUMENTS[name] ?? []).map((each) => each.replace('DIR', fixture.dir));
  const isStream = STREAMS.has(name);
  requests = [];
  const outputs = [process.stdout, process.stderr].map((stream) => vi.spyOn(stream, 'write').mockReturnValue(true));
  try {
    const line = [...name.split(' '), ...args, '--socket', proxySocket, '--json'];
    const ended = program.parseAsync(line, { from: 'user' });
    await (isStream ? once(recorder, 'asked') : ended);
  } finally {
    for (const output of outputs) output.mockRestore();
    process.exitCode = undefined; // of a command that was refused
  }
  return [...new Set(requests.map(routeOf))].sort();
}

describe('a command that asks a server', () => {
  it.each(Object.keys(ARGUMENTS))('asks by the requests that docs/api.md names: %s', async (name) => {
    expect((await routesOf(name)).join(', ')).toBe(documented.get(name));
  });
});

describe('the table in docs/api.md', () => {
  it('has every command, those that ask no server too', async () => {
    // It does something by itself, too.
    const acts = ({ path, command }: NamedCommand) => command.commands.length === 0 || path === 'node token';
    const commands = [...commandsOf(await buildProgram())]
      .filter((one) => acts(one) && !FORMER_NAMES.has(one.path))
      .map(({ path }) => path);
    const withoutOption = (names: Iterable<string>) => [
      ...new Set([...names].map((name) => name.replace(/ --.*/, ''))),
    ];
    expect(withoutOption(documented.keys()).sort()).toEqual(commands.sort());
    const local = [...documented].filter(([, routes]) => routes === 'none').map(([name]) => name);
    expect([...local, ...withoutOption(Object.keys(ARGUMENTS))].sort()).toEqual(commands.sort());
  });

  it('has every request that changes something, with few exceptions', () => {
    const named = new Set([...documented.values()].flatMap((routes) => routes.split(', ')));
    const acts = all.filter(isAct).map(({ method, path }) => `${method} ${path}`);
    expect(acts.filter((route) => !named.has(route) && !NOT_RECORDED.has(route))).toEqual([]);
  });
});
