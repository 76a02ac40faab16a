import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { escapeControls, jsonText, standardOutput, systemReason } from '@rollcall/output';
import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import {
  deviceId,
  duration,
  groupName,
  instant,
  integerBetween,
  runWithServer,
  withServerOptions,
} from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { note, printJson, printResult, printStream } from '../terminal.ts';

interface DeviceFilter {
  readonly device?: DeviceId;
  readonly group?: GroupName;
}

interface QueryOptions extends DeviceFilter {
  readonly stream?: string;
  readonly since?: number;
  readonly until?: number;
  readonly before?: number;
  readonly limit: number;
}

const query = runWithServer<QueryOptions>(async (server, { options, form }) => {
  const { stream, before, limit } = options;
  const asked = { ...deviceFilter(options), ...(stream !== undefined && { stream }), ...timesOf(options) };
  const messages = await server.queryTelemetry({ ...asked, limit, ...(before !== undefined && { before }) });
  for (const message of messages) print(message, form);
  const [oldest] = messages;
  if (oldest === undefined && form === 'text') note('no message matches');
  if (oldest === undefined || messages.length === limit) return;
  const older = await server.queryTelemetry({ ...asked, limit: 1, before: oldest.position });
  if (older.length > 0)
    note(`${messages.length} of ${limit} messages fit into the answer; for older ones: --before ${oldest.position}`);
});

const last = runWithServer<DeviceFilter>(async (server, { options, form }) => {
  for (let after: string | undefined; ; ) {
    const page = await server.lastTelemetry({ ...deviceFilter(options), ...(after !== undefined && { after }) });
    for (const message of page) print(message, form);
    const end = page.at(-1);
    if (end === undefined && after === undefined && form === 'text') note('no message matches');
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
  if (points.length === 0 && form === 'text') note('no message with a number matches');
  if (ignored > 0) note(`${ignored} messages had no number ${value === '' ? 'as payload' : `at ${value}`}`);
});

interface ExportOptions extends DeviceFilter {
  readonly stream?: string;
  readonly since?: number;
  readonly until?: number;
  readonly format: 'ndjson' | 'csv';
  readonly out?: string;
}

const exportMessages = runWithServer<ExportOptions>(async (server, { options }) => {
  const { stream, format, out } = options;
  const text = server.exportTelemetry({
    format,
    ...deviceFilter(options),
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
  for (const name of found.damaged) printResult(`${name}  damaged, not read`);
  printResult(`${found.messages} messages  ${found.bytes} bytes`);
  const { queuedBytes, isUnderPressure, diskFreeBytes, isDiskLow } = found.intake;
  if (isUnderPressure) printResult(`storage is behind: ${queuedBytes} bytes are queued`);
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

function deviceFilter({ device, group }: DeviceFilter) {
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
  readonly contentType?: string | undefined;
  readonly payloadFormatIndicator?: 0 | 1 | undefined;
  readonly userProperties?: readonly { readonly name: string; readonly value: string }[] | undefined;
  readonly device: string;
  readonly stream: string;
  readonly receivedAt: string;
  readonly payload?: unknown;
  readonly text?: string | undefined;
  readonly base64?: string | undefined;
}

function print(message: PrintedMessage, form: 'text' | 'json'): void {
  const payload = message.payload === undefined ? (message.text ?? message.base64 ?? '') : jsonText(message.payload);
  if (form === 'json') {
    printJson(message);
    return;
  }
  printResult(`${message.receivedAt}  ${message.device}  ${message.stream}  ${escapeControls(payload)}`);
  for (const line of propertyLines(message)) printResult(`    ${line}`);
}

/** Texts of the device are in quotes, so that none can look like another line. */
function propertyLines({ contentType, payloadFormatIndicator, userProperties = [] }: PrintedMessage): string[] {
  const lines = userProperties.map(({ name, value }) => `user property ${jsonText(name)}: ${jsonText(value)}`);
  if (payloadFormatIndicator !== undefined) {
    lines.unshift(
      `payload format ${payloadFormatIndicator} (${payloadFormatIndicator === 1 ? 'UTF-8' : 'unspecified'})`,
    );
  }
  if (contentType !== undefined) lines.unshift(`content type ${jsonText(contentType)}`);
  return lines;
}

export function telemetryCommand(): Command {
  const telemetry = new Command('telemetry').description('telemetry: follow, query, export, statistics, prune');
  withServerOptions(telemetry.command('tail').description('print messages as they are accepted'))
    .option('--device <id>', 'only messages of this device', deviceId)
    .action(tail);
  withServerOptions(telemetry.command('query').description('list stored messages of a device or a group, oldest first'))
    .option('--device <id>', 'messages of this device', deviceId)
    .option('--group <name>', 'messages of the devices that are in this group now', groupName)
    .option('--stream <name>', 'only messages of this stream')
    .option('--since <time>', 'received at or after this time, or this long ago', instant)
    .option('--until <time>', 'received before this time, or this long ago', instant)
    .option(
      '--before <position>',
      'messages before this position: the page before',
      integerBetween(1, Number.MAX_SAFE_INTEGER),
    )
    .option('--limit <n>', 'at most so many, the newest; fewer when they exceed 16 MiB', integerBetween(1, 10_000), 100)
    .action(query);
  withServerOptions(telemetry.command('last').description('list the newest message of each stream of each device'))
    .option('--device <id>', 'only messages of this device', deviceId)
    .option('--group <name>', 'messages of the devices that are in this group now', groupName)
    .action(last);
  withServerOptions(
    telemetry
      .command('series')
      .description('aggregate a number over time: start, count, min, average, max and last of each bucket'),
  )
    .requiredOption('--device <id>', 'device id', deviceId)
    .requiredOption('--stream <name>', 'stream name')
    .option('--value <pointer>', 'JSON Pointer of the number, such as /celsius (default: the whole payload)', '')
    .requiredOption('--since <time>', 'from this time, or this long ago', instant)
    .option('--until <time>', 'to this time, or this long ago (default: now)', instant)
    .requiredOption('--bucket <duration>', 'length of a bucket', duration)
    .action(series);
  withServerOptions(telemetry.command('export').description('export stored messages, oldest first, without a limit'))
    .option('--device <id>', 'only messages of this device', deviceId)
    .option('--group <name>', 'messages of the devices that are in this group now', groupName)
    .option('--stream <name>', 'only messages of this stream')
    .option('--since <time>', 'received at or after this time, or this long ago', instant)
    .option('--until <time>', 'received before this time, or this long ago', instant)
    .addOption(new Option('--format <format>', 'one message a line').choices(['ndjson', 'csv']).default('ndjson'))
    .option('--out <file>', 'file to write (default: standard output)')
    .action(exportMessages);
  withServerOptions(telemetry.command('stats').description('show the stored messages and bytes of each file')).action(
    stats,
  );
  withServerOptions(telemetry.command('prune').description('delete the days that retention no longer keeps, now'))
    .option('--older-than <duration>', 'delete days that ended longer ago instead', duration)
    .action(prune);
  return telemetry;
}
