import { visible } from '@rollcall/output';
import { Problem, parseDecimal } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { findsServer, instant, runWithServer } from '../command-line.ts';
import { printJson, printResult, table } from '../terminal.ts';

type Sink = Awaited<ReturnType<ConsoleClient['listSinks']>>[number];

const list = runWithServer<object>(async (server, { form }) => {
  const sinks = await server.listSinks();
  if (form === 'json') {
    for (const sink of sinks) printJson(sink);
    return;
  }
  const headings = ['SINK', 'KIND', 'SOURCE', 'STATE', 'BEHIND', 'FORWARDED', 'DEAD LETTERS', 'MISSED', 'REASON'];
  printResult(
    table(
      headings,
      sinks.map((sink) => [
        sink.name,
        sink.kind,
        sink.source,
        sink.state,
        String(sink.lagMessages),
        String(sink.forwarded),
        String(sink.deadLettered),
        String(sink.missed),
        sink.reason ?? '',
      ]),
    ),
  );
});

const show = runWithServer<object>(async (server, { args, form }) => {
  const sink = (await server.listSinks()).find(({ name }) => name === args[0]);
  if (sink === undefined) throw new Problem('sink_unknown');
  print(sink, form);
});

const replay = runWithServer<{ readonly from: Start }>(async (server, { args, options, form }) => {
  const { from } = options;
  print(await server.replaySink({ name: args[0] as string, ...from }), form);
});

const skip = runWithServer<object>(async (server, { args, form }) => {
  const { skipped } = await server.skipSink({ name: args[0] as string });
  if (form === 'json') return printJson({ skipped });
  printResult(skipped === undefined ? 'nothing to skip: the sink is not down' : `${skipped} is a dead letter now`);
});

type Start = { readonly position: number } | { readonly since: string };

/** A position, a time, or how long ago. */
function start(text: string): Start {
  const position = parseDecimal(text, 1);
  if (position !== undefined) return { position };
  try {
    return { since: new Date(instant(text)).toISOString() };
  } catch {
    throw new InvalidArgumentError('expected a position, a time such as 2026-11-22T12:00:00Z, or how long ago');
  }
}

function print(sink: Sink, form: 'text' | 'json'): void {
  if (form === 'json') {
    printJson(sink);
    return;
  }
  const { filter, ...rest } = sink;
  const wanted = Object.entries(filter).flatMap(([what, names]) =>
    names.length === 0 ? [] : [`${what} ${names.join(', ')}`],
  );
  const lines = Object.entries({ ...rest, filter: wanted.join('; ') || 'everything' });
  for (const [name, value] of lines) printResult(`${name.padEnd(15)} ${visible(String(value))}`);
}

export function sinkCommand(): Command {
  const sink = new Command('sink').description('where messages and events are forwarded to');
  findsServer(sink.command('list').description('all sinks, and how far they are')).action(list);
  findsServer(sink.command('show').description('one sink').argument('<name>')).action(show);
  findsServer(sink.command('replay').description('forward again').argument('<name>'))
    .requiredOption('--from <start>', 'a position, a time, or how long ago', start)
    .action(replay);
  findsServer(
    sink.command('skip').description('make the message that a target does not take a dead letter').argument('<name>'),
  ).action(skip);
  return sink;
}
