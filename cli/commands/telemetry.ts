import { Command } from 'commander';
import type { DeviceId } from '../../contract/identity.ts';
import { deviceId, findsServer, instant, integerBetween, runWithServer } from '../command-line.ts';
import { printJson, printResult, visible } from '../terminal.ts';

interface QueryOptions {
  readonly device: DeviceId;
  readonly stream?: string;
  readonly since?: number;
  readonly limit: number;
}

const query = runWithServer<QueryOptions>(async (server, { options, form }) => {
  const messages = await server.queryTelemetry({
    device: options.device,
    limit: options.limit,
    ...(options.stream !== undefined && { stream: options.stream }),
    ...(options.since !== undefined && { since: new Date(options.since).toISOString() }),
  });
  for (const message of messages) print(message, form);
});

const tail = runWithServer<{ readonly device?: DeviceId }>(async (server, { options, form }) => {
  const stop = new AbortController();
  const end = () => stop.abort();
  process.once('SIGINT', end).once('SIGTERM', end);
  for await (const message of server.followTelemetry(options.device, stop.signal)) print(message, form);
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
  const payload =
    message.payload === undefined ? (message.text ?? message.base64 ?? '') : JSON.stringify(message.payload);
  if (form === 'json') printJson(message);
  else printResult(`${message.receivedAt}  ${message.device}  ${message.stream}  ${visible(payload)}`);
}

export function telemetryCommand(): Command {
  const telemetry = new Command('telemetry').description('what devices said');
  findsServer(telemetry.command('tail').description('follow messages as they are accepted'))
    .option('--device <id>', 'of this device only', deviceId)
    .action(tail);
  findsServer(telemetry.command('query').description('read back the messages of a device, oldest first'))
    .requiredOption('--device <id>', 'the device', deviceId)
    .option('--stream <name>', 'of this stream only')
    .option('--since <time>', 'received at or after this time, or this long ago', instant)
    .option('--limit <n>', 'the newest so many', integerBetween(1, 10_000), 100)
    .action(query);
  return telemetry;
}
