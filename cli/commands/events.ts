import { standardOutput, visible } from '@rollcall/output';
import type { DeviceId } from '@rollcall/protocol';
import { Command } from 'commander';
import { deviceId, findsServer, instant, integerBetween, runWithServer } from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { printJson, printResult } from '../terminal.ts';

interface Wanted {
  readonly type?: string;
  readonly device?: DeviceId;
}

interface ListOptions extends Wanted {
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
    ...wantedOf(options),
    limit,
    ...(since !== undefined && { since: new Date(since).toISOString() }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
  });
  for (const event of events) print(event, form);
});

const tail = runWithServer<Wanted>(async (server, { options, form }) => {
  await untilStopped(async (stopped) => {
    const stop = new AbortController();
    void stopped.then(() => stop.abort());
    for await (const event of server.followEvents(wantedOf(options), stop.signal)) {
      print(event, form);
      await standardOutput.drained();
    }
  });
});

function wantedOf({ type, device }: Wanted) {
  return { ...(type !== undefined && { type }), ...(device !== undefined && { device }) };
}

function print(event: PrintedEvent, form: 'text' | 'json'): void {
  if (form === 'json') {
    printJson(event);
    return;
  }
  const details = Object.entries(event.data).map(([name, value]) => `${name}=${String(value)}`);
  const type = event.type.replace(/^fleet\./, '');
  printResult(`${event.time}  ${type}  ${event.subject ?? '-'}  ${visible(details.join(' '))}`);
}

export function eventsCommand(): Command {
  const events = new Command('events').description('what happened to the fleet');
  findsServer(events.command('tail').description('follow events as they happen'))
    .option('--type <type>', 'of this type or area only: presence.connected, presence')
    .option('--device <name>', 'of this device or service only', deviceId)
    .action(tail);
  findsServer(events.command('list').description('events, oldest first'))
    .option('--type <type>', 'of this type or area only: presence.connected, presence')
    .option('--device <name>', 'of this device or service only', deviceId)
    .option('--since <time>', 'at or after this time, or this long ago; left out: a day', instant)
    .option('--until <time>', 'before this time, or this long ago', instant)
    .option('--limit <n>', 'the newest so many', integerBetween(1, 10_000), 100)
    .action(list);
  return events;
}
