import { Command } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { durationBetween, rateBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { note, type OutputForm, printJson, printResult, printTable } from '../terminal.ts';

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
  printTable(
    ['NODE', 'KIND', 'STATE', 'SESSIONS', 'BUSY', 'SINCE', 'CRASHES'],
    nodes.map(({ name, kind, state, sessions, eventLoopBusy, since, crashes }) => [
      name,
      kind,
      state,
      String(sessions),
      eventLoopBusy === undefined ? '-' : `${Math.round(eventLoopBusy * 100)}%`,
      since,
      String(crashes),
    ]),
    { nothing: 'there is no node' },
  );
});

const drain = runWithServer<DrainOptions>(async (server, { args, options, form }) => {
  const name = args[0] as string;
  const { within, rate, stop = false, wait } = options;
  const begun = await server.drainNode({
    name,
    restart: !stop,
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

function print(node: Node, form: OutputForm): void {
  if (form === 'json') printJson(node);
  else printResult(`${node.name} is ${node.state} with ${node.sessions} sessions`);
}

export function nodeCommand(): Command {
  const node = new Command('node').description('nodes of the broker, one per thread: list, drain');
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
    .option('--stop', 'leave the node down until the server restarts; otherwise it is started again')
    .option('--no-wait', 'do not wait until it is done')
    .action(drain);
  return node;
}
