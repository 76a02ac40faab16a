import { escapeControls } from '@rollcall/output';
import { Problem, parseDecimal } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { instant, runWithServer, withServerOptions } from '../command-line.ts';
import { printJson, printResult, printTable } from '../terminal.ts';

type Sink = Awaited<ReturnType<ConsoleClient['listSinks']>>[number];

const list = runWithServer<object>(async (server, { form }) => {
  const sinks = await server.listSinks();
  if (form === 'json') {
    for (const sink of sinks) printJson(sink);
    return;
  }
  const headings = ['SINK', 'KIND', 'SOURCE', 'STATE', 'BEHIND', 'FORWARDED', 'DEAD LETTERS', 'MISSED', 'REASON'];
  printTable(
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
    { nothing: 'no sink is configured' },
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
  printResult(
    skipped === undefined ? 'nothing to skip: the sink is not down' : `${skipped} was written to the dead letters`,
  );
});

type Start = { readonly position: number } | { readonly since: string };

/** A position, a time, or a duration before now. */
function start(text: string): Start {
  const position = parseDecimal(text, 1);
  if (position !== undefined) return { position };
  try {
    return { since: new Date(instant(text)).toISOString() };
  } catch {
    throw new InvalidArgumentError(
      'expected a position, a time such as 2026-11-22T12:00:00Z, or a duration before now',
    );
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
  for (const [name, value] of lines) printResult(`${name.padEnd(15)} ${escapeControls(String(value))}`);
}

export function sinkCommand(): Command {
  const sink = new Command('sink').description(
    'sinks, which forward messages and events to other systems: list, show, replay, skip',
  );
  withServerOptions(sink.command('list').description('list sinks, their states and positions')).action(list);
  withServerOptions(sink.command('show').description('show a sink').argument('<name>')).action(show);
  withServerOptions(
    sink.command('replay').description('forward messages again from a position or time').argument('<name>'),
  )
    .requiredOption('--from <start>', 'position, time, or duration before now', start)
    .action(replay);
  withServerOptions(
    sink
      .command('skip')
      .description('write the message that the target refuses to the dead letters, and go on')
      .argument('<name>'),
  ).action(skip);
  return sink;
}
