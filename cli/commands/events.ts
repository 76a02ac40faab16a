import { escapeControls, standardOutput } from '@rollcall/output';
import type { DeviceId } from '@rollcall/protocol';
import { Command } from 'commander';
import { deviceId, instant, integerBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { note, printJson, printResult } from '../terminal.ts';

interface FilterOptions {
  readonly type?: string;
  readonly device?: DeviceId;
}

interface ListOptions extends FilterOptions {
  readonly since?: number;
  readonly until?: number;
  readonly limit: number;
}

interface PrintedEvent {
  readonly type: string;
  readonly time: string;
  readonly subject?: string | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

const list = runWithServer<ListOptions>(async (server, { options, form }) => {
  const { since, until, limit } = options;
  const events = await server.listEvents({
    ...filterOf(options),
    limit,
    ...(since !== undefined && { since: new Date(since).toISOString() }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
  });
  if (events.length === 0 && form === 'text') note('no event matches');
  // What the registry records reaches the journal a moment after it happened.
  const byTime = events.toSorted((a, b) => Date.parse(a.time) - Date.parse(b.time));
  for (const event of byTime) print(event, form);
});

const tail = runWithServer<FilterOptions>(async (server, { options, form }) => {
  await untilStopped(async (stopped) => {
    const stop = new AbortController();
    void stopped.then(() => stop.abort());
    for await (const event of server.followEvents(filterOf(options), stop.signal)) {
      print(event, form);
      await standardOutput.drained();
    }
  });
});

function filterOf({ type, device }: FilterOptions) {
  return { ...(type !== undefined && { type }), ...(device !== undefined && { device }) };
}

function print(event: PrintedEvent, form: 'text' | 'json'): void {
  if (form === 'json') {
    printJson(event);
    return;
  }
  const details = Object.entries(event.data).map(([name, value]) => `${name}=${String(value)}`);
  const type = event.type.replace(/^fleet\./, '');
  printResult(`${event.time}  ${type}  ${event.subject ?? '-'}  ${escapeControls(details.join(' '))}`);
}

export function eventsCommand(): Command {
  const events = new Command('events').description('fleet events: list and follow');
  withServerOptions(events.command('tail').description('print events as they happen'))
    .option('--type <type>', 'only events of this type or area, such as presence.connected or presence')
    .option('--device <name>', 'only events of this device or service', deviceId)
    .action(tail);
  withServerOptions(events.command('list').description('list events, oldest first'))
    .option('--type <type>', 'only events of this type or area, such as presence.connected or presence')
    .option('--device <name>', 'only events of this device or service', deviceId)
    .option('--since <time>', 'from this time, or this long ago (default: 1d)', instant)
    .option('--until <time>', 'before this time, or this long ago', instant)
    .option('--limit <n>', 'at most so many, the newest', integerBetween(1, 10_000), 100)
    .action(list);
  return events;
}
