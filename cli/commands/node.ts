import { Command } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { durationBetween, rateBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { note, type OutputForm, printJson, printResult, printTable } from '../terminal.ts';

import { addAcceptRestored } from './node-accept-restored.ts';
import { addNodeJoin } from './node-join.ts';

type Node = Awaited<ReturnType<ConsoleClient['listNodes']>>[number];

interface DrainOptions {
  readonly within?: number;
  readonly rate?: number;
  readonly stop?: boolean;
  readonly wait: boolean;
}

const POLL_MS = 500;

const list = runWithServer<object>(async (server, { form }) => {
  const nodes = await server.listNodes();
  if (form === 'json') {
    for (const node of nodes) printJson(node);
    return;
  }
  const nothing = { nothing: 'there is no node' };
  if (nodes.some((node) => node.server !== undefined)) {
    const titles = ['NODE', 'HOST', 'ROLES', 'VERSION', 'STATE', 'SINCE', 'SESSIONS', 'CONNECTIONS', 'BUSY'];
    printTable(titles, nodes.map(serverRow), nothing);
  } else {
    printTable(['NODE', 'KIND', 'STATE', 'SESSIONS', 'BUSY', 'SINCE', 'CRASHES'], nodes.map(threadRow), nothing);
  }
});

function threadRow({ name, kind, state, sessions, since, crashes, ...node }: Node): string[] {
  return [name, kind, state, String(sessions), busyText(node), since, String(crashes)];
}

function serverRow({ name, state, sessions, since, server, ...node }: Node): string[] {
  const { host = '-', roles = [], version = '-', connections = 0 } = server ?? {};
  return [name, host, roles.join(), version, state, since, String(sessions), String(connections), busyText(node)];
}

function busyText({ eventLoopBusy }: Pick<Node, 'eventLoopBusy'>): string {
  return eventLoopBusy === undefined ? '-' : `${Math.round(eventLoopBusy * 100)}%`;
}

const drain = runWithServer<DrainOptions>(async (server, { args, options, form }) => {
  const name = args[0] as string;
  const { within, rate, stop = false, wait } = options;
  const begun = await server.drainNode({
    name,
    ...(stop && { restart: false }),
    ...(within !== undefined && { withinSeconds: within / 1_000 }),
    ...(rate !== undefined && { sessionsPerSecond: rate }),
  });
  if (!wait) return print(begun, form);
  if (form === 'text') note(`draining ${name}: ${begun.sessions} sessions`);
  print(await untilDrained(server, begun), form);
});

/** Asks until the node is neither drained nor started again. */
async function untilDrained(server: ConsoleClient, begun: Node): Promise<Node> {
  let node = begun;
  while (node.state === 'draining' || node.state === 'restarting') {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    const found = (await server.listNodes()).find(({ name }) => name === begun.name);
    if (found === undefined) break;
    node = found;
  }
  return node;
}

const undrain = runWithServer(async (server, { args, form }) => {
  print(await server.undrainNode({ name: args[0] as string }), form);
});

const remove = runWithServer<{ readonly force?: boolean }>(async (server, { args, options, form }) => {
  const node = await server.removeNode({ name: args[0] as string, force: options.force === true });
  if (form === 'json') printJson(node);
  else printResult(`${node.name} is removed: its process ends, and none of this name starts until it joins again`);
  if (node.databaseSql.length > 0) {
    note(`its role in the database is left; a superuser has to run there: ${node.databaseSql.join('; ')}`);
  }
});

function print(node: Node, form: OutputForm): void {
  if (form === 'json') printJson(node);
  else printResult(`${node.name} is ${node.state} with ${node.sessions} sessions`);
}

export function nodeCommand(): Command {
  const node = new Command('node').description(
    'nodes of the fleet, and threads of a server: list, drain, join, remove',
  );
  addNodeJoin(node);
  withServerOptions(node.command('list').description('list nodes, their sessions and load')).action(list);
  withServerOptions(
    node
      .command('drain')
      .description('end the sessions of one node at a limited rate, so that its clients connect to the others')
      .argument('<name>', 'node, such as w1'),
  )
    .option('--within <duration>', 'time for all sessions (default: drain.within)', durationBetween('0s', '1h'))
    .option(
      '--rate <n>',
      'sessions a second, 0 for all at once (default: drain.sessionsPerSecond)',
      rateBetween(0, 1_000_000),
    )
    .option('--stop', 'leave a thread down until it is undrained; otherwise it is started again')
    .option('--no-wait', 'do not wait until it is done')
    .action(drain);
  withServerOptions(
    node.command('undrain').description('have a drained node serve again').argument('<name>', 'node, such as w1'),
  ).action(undrain);
  withServerOptions(
    node
      .command('remove')
      .description('end a node of the fleet for good; none of its name starts until it joins again')
      .argument('<name>', 'node, such as node-3'),
  )
    .option('--force', 'remove it also while it is running')
    .action(remove);
  addAcceptRestored(node);
  return node;
}
