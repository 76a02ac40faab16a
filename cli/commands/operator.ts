import { Problem } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { OPERATOR_ROLES, type OperatorRole } from '../../registry/index.ts';
import { durationBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { createPrivateFile } from '../new-file.ts';
import { note, printJson, printResult, printTable } from '../terminal.ts';

const KEY_TTL_MS = 90 * 86_400_000;

interface RoleOption {
  readonly role?: OperatorRole;
}

const add = runWithServer<{ readonly role: OperatorRole }>(async (server, { args, options, form }) => {
  const operator = await server.addOperator({ name: args[0] as string, role: options.role });
  if (form === 'json') return printJson(operator);
  printResult(
    `operator ${operator.name} is added with the role ${operator.role}; ` +
      `"rollcall operator link ${operator.name}" makes a link with which a person sets a password, ` +
      `"rollcall operator key create ${operator.name} --out FILE" a key for a program`,
  );
});

type OperatorPage = Awaited<ReturnType<ConsoleClient['listOperators']>>;

const list = runWithServer(async (server, { form }) => {
  const operators = await everyPage<OperatorPage[number]>((end) =>
    server.listOperators(end === undefined ? {} : { after: end.name }),
  );
  if (form === 'json') return printJson(operators);
  printTable(
    ['OPERATOR', 'ROLE', 'STATE', 'ADDED', 'BY', 'DISABLED'],
    operators.map((o) => [o.name, o.role, o.state, o.createdAt, o.createdBy, o.disabledAt ?? '']),
    { nothing: 'there is no operator: "rollcall operator add NAME" adds one' },
  );
});

const disable = runWithServer(async (server, { args, form }) => {
  const operator = await server.disableOperator({ name: args[0] as string });
  if (form === 'json') return printJson(operator);
  printResult(
    `operator ${operator.name} is disabled: its keys are refused from now on, and its sessions and open streams ended`,
  );
});

const reset = runWithServer<RoleOption>(async (server, { args, options, form }) => {
  const { role } = options;
  const operator = await server.resetOperator({ name: args[0] as string, ...(role !== undefined && { role }) });
  if (form === 'json') return printJson(operator);
  printResult(
    `operator ${operator.name} is active with the role ${operator.role}; its former keys, password, passkeys and sessions are gone`,
  );
});

const link = runWithServer(async (server, { args, form }) => {
  const created = await server.createSignInLink({ operator: args[0] as string });
  if (form === 'json') return printJson(created);
  printResult(created.url);
  note(`${created.operator} sets a password there; for one use until ${created.expiresAt}. A former link is refused.`);
});

const setUpLink = runWithServer(async (server, { form }) => {
  const created = await server.createSignInLink({});
  if (form === 'json') return printJson(created);
  printResult(created.url);
  note(`adds the first operator; for one use until ${created.expiresAt}. A former link is refused.`);
});

type SessionPage = Awaited<ReturnType<ConsoleClient['listOperatorSessions']>>;

const listSessions = runWithServer(async (server, { args, form }) => {
  const operator = args[0] === undefined ? {} : { operator: args[0] };
  const sessions = await everyPage<SessionPage[number]>((end) =>
    server.listOperatorSessions(end === undefined ? operator : { ...operator, after: end.id }),
  );
  if (form === 'json') return printJson(sessions);
  printTable(
    ['SESSION', 'OPERATOR', 'SIGNED IN BY', 'SINCE', 'LAST SEEN', 'ENDS', 'ADDRESS', 'BROWSER'],
    sessions.map((s) => [s.id, s.operator, s.method, s.createdAt, s.lastSeenAt, s.expiresAt, s.address, s.userAgent]),
    { nothing: 'no operator is signed in' },
  );
});

const endSession = runWithServer(async (server, { args, form }) => {
  const id = args[0] as string;
  await server.endOperatorSession({ id });
  if (form === 'json') return printJson({ id });
  printResult(`session ${id} ended, with its open streams`);
});

interface KeyOptions {
  readonly role: OperatorRole;
  readonly ttl: number;
  readonly out: string;
}

const createKey = runWithServer<KeyOptions>(async (server, { args, options, form }) => {
  const { role, ttl, out } = options;
  const file = createPrivateFile(out);
  const order = { operator: args[0] as string, role, ttlSeconds: Math.round(ttl / 1000) };
  const { key, text } = await server.createOperatorKey(order).catch((error: unknown) => {
    file.discard();
    throw error;
  });
  file.write(`${text}\n`);
  if (form === 'json') return printJson({ key, file: out });
  printResult(`API key ${key.id} of ${key.operator} written to ${out}: role ${key.role}, valid until ${key.expiresAt}`);
});

type KeyPage = Awaited<ReturnType<ConsoleClient['listOperatorKeys']>>;

const listKeys = runWithServer(async (server, { args, form }) => {
  const operator = args[0] === undefined ? {} : { operator: args[0] };
  const keys = await everyPage<KeyPage[number]>((end) =>
    server.listOperatorKeys(end === undefined ? operator : { ...operator, after: end.id }),
  );
  if (form === 'json') return printJson(keys);
  printTable(
    ['KEY', 'OPERATOR', 'ROLE', 'STATE', 'EXPIRES', 'LAST USED', 'CREATED', 'BY'],
    keys.map((k) => [k.id, k.operator, k.role, k.state, k.expiresAt, k.lastUsedAt ?? '', k.createdAt, k.createdBy]),
    { nothing: 'there is no API key: "rollcall operator key create NAME --out FILE" makes one' },
  );
});

const revokeKey = runWithServer(async (server, { args, form }) => {
  const id = args[0] as string;
  // A whole key on the command line is in the list of processes: it is not sent, and not repeated.
  if (id.length > 16) throw new Problem('usage', { reason: 'expected the id of an API key, not the key itself' });
  const key = await server.revokeOperatorKey({ id });
  if (form === 'json') return printJson(key);
  printResult(`API key ${key.id} of ${key.operator} is revoked, and its open streams ended`);
});

function roleOption(description: string): Option {
  return new Option('--role <role>', description).choices(OPERATOR_ROLES);
}

function keyCommand(): Command {
  const key = new Command('key').description('API keys of operators: create, list, revoke');
  withServerOptions(
    key.command('create').argument('<name>', 'operator').description('create an API key and write it to a new file'),
  )
    .addOption(roleOption('what it may do, at most what its operator may').default('viewer'))
    .option('--ttl <duration>', 'time until it expires', durationBetween('1s', '365d'), KEY_TTL_MS)
    .requiredOption('--out <file>', 'new file for the key, that only its owner can read')
    .action(createKey);
  withServerOptions(
    key.command('list').argument('[name]', 'operator').description('list API keys, without their secrets'),
  ).action(listKeys);
  withServerOptions(
    key.command('revoke').argument('<id>').description('revoke an API key: it is refused from now on'),
  ).action(revokeKey);
  return key;
}

function sessionCommand(): Command {
  const session = new Command('session').description('sessions of operators who signed in: list, end');
  withServerOptions(
    session.command('list').argument('[name]', 'operator').description('list sessions of operators who signed in'),
  ).action(listSessions);
  withServerOptions(
    session.command('end').argument('<id>').description('end a session of an operator, and its open streams'),
  ).action(endSession);
  return session;
}

export function operatorCommand(): Command {
  const operator = new Command('operator').description(
    'operators of the console: add, list, disable, reset, links to sign in, sessions and API keys',
  );
  withServerOptions(operator.command('add').argument('<name>').description('add an operator'))
    .addOption(roleOption('what it may do').default('viewer'))
    .action(add);
  withServerOptions(operator.command('list').description('list operators')).action(list);
  withServerOptions(
    operator
      .command('disable')
      .argument('<name>')
      .description('disable an operator: its keys are refused from now on, and its sessions and open streams end'),
  ).action(disable);
  withServerOptions(
    operator
      .command('reset')
      .argument('<name>')
      .description('revoke all API keys of an operator, remove what it signs in with, and enable it again'),
  )
    .addOption(roleOption('a new role (default: the role stays)'))
    .action(reset);
  withServerOptions(
    operator
      .command('link')
      .argument('<name>')
      .description(
        'make a one-time link with which an operator sets a password: an invitation, or for a forgotten one',
      ),
  ).action(link);
  withServerOptions(
    operator.command('set-up-link').description('make the one-time link with which a person adds the first operator'),
  ).action(setUpLink);
  operator.addCommand(sessionCommand());
  operator.addCommand(keyCommand());
  return operator;
}
