import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { jsonText, standardOutput, systemReason, visible } from '@rollcall/output';
import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import { deviceId, duration, findsServer, groupName, instant, integerBetween, runWithServer } from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { note, printJson, printResult, printStream } from '../terminal.ts';

interface OfDevices {
  readonly device?: DeviceId;
  readonly group?: GroupName;
}

interface QueryOptions extends OfDevices {
  readonly stream?: string;
  readonly since?: number;
  readonly until?: number;
  readonly before?: number;
  readonly limit: number;
}

const query = runWithServer<QueryOptions>(async (server, { options, form }) => {
  const { stream, before, limit } = options;
  const asked = { ...ofDevices(options), ...(stream !== undefined && { stream }), ...timesOf(options) };
  const messages = await server.queryTelemetry({ ...asked, limit, ...(before !== undefined && { before }) });
  for (const message of messages) print(message, form);
  const [oldest] = messages;
  if (oldest === undefined || messages.length === limit) return;
  const older = await server.queryTelemetry({ ...asked, limit: 1, before: oldest.position });
  if (older.length > 0)
    note(`${messages.length} of ${limit} messages fit; the older ones: --before ${oldest.position}`);
});

const last = runWithServer<OfDevices>(async (server, { options, form }) => {
  for (let after: string | undefined; ; ) {
    const page = await server.lastTelemetry({ ...ofDevices(options), ...(after !== undefined && { after }) });
    for (const message of page) print(message, form);
    const end = page.at(-1);
    if (end === undefined) return;
    after = `${end.device}/${end.stream}`;
  }
});

interface SeriesOptions {
  readonly device: DeviceId;
  readonly stream: string;
  readonly value: string;
  readonly since: number;
  readonly until?: number;
  readonly bucket: number;
}

const series = runWithServer<SeriesOptions>(async (server, { options, form }) => {
  const { device, stream, value, since, until = Date.now(), bucket } = options;
  const { points, ignored } = await server.seriesTelemetry({
    device,
    stream,
    value,
    since: new Date(since).toISOString(),
    until: new Date(until).toISOString(),
    bucketSeconds: bucket / 1000,
  });
  for (const point of points) {
    if (form === 'json') printJson(point);
    else printResult(`${point.at}  ${numberColumns(point)}`);
  }
  if (ignored > 0) note(`${ignored} messages had no number at ${value || 'their top'}`);
});

interface ExportOptions extends OfDevices {
  readonly stream?: string;
  readonly since?: number;
  readonly until?: number;
  readonly format: 'ndjson' | 'csv';
  readonly out?: string;
}

const exporting = runWithServer<ExportOptions>(async (server, { options }) => {
  const { stream, format, out } = options;
  const text = server.exportTelemetry({
    format,
    ...ofDevices(options),
    ...(stream !== undefined && { stream }),
    ...timesOf(options),
  });
  if (out === undefined) return printStream(text);
  try {
    await pipeline(text, createWriteStream(out, { mode: 0o600 }));
  } catch (error) {
    const { code, path } = error as NodeJS.ErrnoException;
    if (error instanceof Problem || code === undefined) throw error;
    if (path === undefined) throw new Problem('output_failed', { reason: `${out}: ${systemReason(error as Error)}` });
    throw new Problem('usage', { detail: `${out} could not be written: ${code}` });
  }
});

const stats = runWithServer<object>(async (server, { form }) => {
  const found = await server.telemetryStats();
  if (form === 'json') return printJson(found);
  for (const { name, messages, bytes } of found.segments) printResult(`${name}  ${messages} messages  ${bytes} bytes`);
  for (const name of found.damaged) printResult(`${name}  damaged, put aside`);
  printResult(`${found.messages} messages  ${found.bytes} bytes`);
  const { queuedBytes, isUnderPressure, diskFreeBytes, isDiskLow } = found.intake;
  if (isUnderPressure) printResult(`storage is behind: ${queuedBytes} bytes wait`);
  if (isDiskLow) printResult(`the disk is nearly full: ${diskFreeBytes} bytes free`);
});

const prune = runWithServer<{ readonly olderThan?: number }>(async (server, { options, form }) => {
  const { olderThan } = options;
  const order = olderThan === undefined ? {} : { olderThanSeconds: Math.max(1, Math.round(olderThan / 1000)) };
  const { removed } = await server.pruneTelemetry(order);
  if (form === 'json') return printJson({ removed });
  for (const { name, messages, bytes } of removed) printResult(`${name}  ${messages} messages  ${bytes} bytes`);
  printResult(`${removed.length} removed`);
});

function ofDevices({ device, group }: OfDevices) {
  return { ...(device !== undefined && { device }), ...(group !== undefined && { group }) };
}

function timesOf({ since, until }: { readonly since?: number; readonly until?: number }) {
  return {
    ...(since !== undefined && { since: new Date(since).toISOString() }),
    ...(until !== undefined && { until: new Date(until).toISOString() }),
  };
}

function numberColumns(point: { readonly [name in 'count' | 'min' | 'avg' | 'max' | 'last']: number }): string {
  const { count, min, avg, max, last: newest } = point;
  return [`${count}x`, ...[min, avg, max, newest].map((value) => String(Number(value.toPrecision(7))))].join('  ');
}

const tail = runWithServer<{ readonly device?: DeviceId }>(async (server, { options, form }) => {
  await untilStopped(async (stopped) => {
    const stop = new AbortController();
    void stopped.then(() => stop.abort());
    for await (const message of server.followTelemetry({ device: options.device }, stop.signal)) {
      print(message, form);
      await standardOutput.drained();
    }
  });
});

interface PrintedMessage {
  readonly device: string;
  readonly stream: string;
  readonly receivedAt: string;
  readonly payload?: unknown;
  readonly text?: string | undefined;
  readonly base64?: string | undefined;
}

function print(message: PrintedMessage, form: 'text' | 'json'): void {
  const payload = message.payload === undefined ? (message.text ?? message.base64 ?? '') : jsonText(message.payload);
  if (form === 'json') printJson(message);
  else printResult(`${message.receivedAt}  ${message.device}  ${message.stream}  ${visible(payload)}`);
}

export function telemetryCommand(): Command {
  const telemetry = new Command('telemetry').description('what devices said');
  findsServer(telemetry.command('tail').description('follow messages as they are accepted'))
    .option('--device <id>', 'of this device only', deviceId)
    .action(tail);
  findsServer(telemetry.command('query').description('read back the messages of a device or of a group, oldest first'))
    .option('--device <id>', 'of this device', deviceId)
    .option('--group <name>', 'of the devices that are in this group now', groupName)
    .option('--stream <name>', 'of this stream only')
    .option('--since <time>', 'received at or after this time, or this long ago', instant)
    .option('--until <time>', 'received before this time, or this long ago', instant)
    .option('--before <position>', 'of smaller positions: what an earlier answer left out', integerBetween(1, 1e15 - 1))
    .option('--limit <n>', 'the newest so many; of fewer that fit into 16 MiB', integerBetween(1, 10_000), 100)
    .action(query);
  findsServer(telemetry.command('last').description('the newest message of each stream of each device'))
    .option('--device <id>', 'of this device only', deviceId)
    .option('--group <name>', 'of the devices that are in this group now', groupName)
    .action(last);
  findsServer(
    telemetry
      .command('series')
      .description('a number over time: begin, count, min, average, max, last of each stretch'),
  )
    .requiredOption('--device <id>', 'the device', deviceId)
    .requiredOption('--stream <name>', 'the stream')
    .option(
      '--value <pointer>',
      'JSON Pointer of the number, such as /celsius; left out: the payload is the number',
      '',
    )
    .requiredOption('--since <time>', 'from this time, or this long ago', instant)
    .option('--until <time>', 'to this time, or this long ago; left out: now', instant)
    .requiredOption('--bucket <duration>', 'length of one stretch', duration)
    .action(series);
  findsServer(telemetry.command('export').description('write messages out, oldest first, any number of them'))
    .option('--device <id>', 'of this device only', deviceId)
    .option('--group <name>', 'of the devices that are in this group now', groupName)
    .option('--stream <name>', 'of this stream only')
    .option('--since <time>', 'received at or after this time, or this long ago', instant)
    .option('--until <time>', 'received before this time, or this long ago', instant)
    .addOption(new Option('--format <format>', 'one message a line').choices(['ndjson', 'csv']).default('ndjson'))
    .option('--out <file>', 'into this file instead of standard output')
    .action(exporting);
  findsServer(telemetry.command('stats').description('what is kept, by file')).action(stats);
  findsServer(telemetry.command('prune').description('remove the days that are not to be kept, now'))
    .option('--older-than <duration>', 'days that ended longer ago, whatever the configuration says', duration)
    .action(prune);
  return telemetry;
}
