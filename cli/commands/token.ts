import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { Command } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import {
  addRenamed,
  deviceId,
  duration,
  groupName,
  integerBetween,
  label,
  repeated,
  runWithServer,
  withServerOptions,
} from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { createPrivateFile, isOutputReadableByOthers } from '../new-file.ts';
import { tokenAdvice } from '../public-names.ts';
import { counted, note, type OutputForm, printJson, printResult, printTable } from '../terminal.ts';
import { type ConfirmOptions, confirmOf, printProof, printSelection, withConfirmOptions } from './device-operations.ts';

const TTL_MS = 86_400_000;
/** An exemption should not outlast its test. */
const LOAD_TEST_TTL_MS = 3_600_000;

interface CreateOptions {
  readonly uses: number;
  readonly ttl?: number;
  readonly group?: GroupName;
  readonly device?: DeviceId;
  readonly label?: Readonly<Record<string, string>>;
  readonly out?: string;
  readonly loadTest?: readonly string[];
  readonly loadTestRate?: number;
}

const create = runWithServer<CreateOptions>(async (server, { options, form }) => {
  const { out, loadTest, loadTestRate } = options;
  if (loadTest === undefined && loadTestRate !== undefined) {
    throw new Problem('usage', { reason: 'expected --load-test ADDRESS with --load-test-rate' });
  }
  const file = out === undefined ? undefined : createPrivateFile(out);
  const created = await createToken(server, options).catch((error: unknown) => {
    file?.discard();
    throw error;
  });
  const { token, text } = created;
  file?.write(`${text}\n`);
  if (form === 'json') printJson(file === undefined ? created : { token, file: out });
  else if (file === undefined) printResult(text);
  else printResult(`token ${token.id} written to ${out}; it enrolls ${usesText(token)} until ${token.expiresAt}`);
  if (file === undefined && isOutputReadableByOthers()) {
    note('other users can read the file that holds the token: chmod 600 FILE, or use --out FILE instead of > FILE');
  }
  const advice = form === 'json' ? undefined : tokenAdvice(text);
  if (advice !== undefined) note(advice);
});

function createToken(server: ConsoleClient, options: CreateOptions): Promise<Created> {
  const { loadTest, loadTestRate } = options;
  const ttl = options.ttl ?? (loadTest === undefined ? TTL_MS : LOAD_TEST_TTL_MS);
  return server.createToken({
    uses: options.uses,
    ttlSeconds: Math.round(ttl / 1000),
    ...(loadTest !== undefined && {
      loadTest: { from: [...loadTest], ...(loadTestRate !== undefined && { perSecond: loadTestRate }) },
    }),
    ...(options.group !== undefined && { group: options.group }),
    ...(options.device !== undefined && { device: options.device }),
    ...(options.label !== undefined && { labels: options.label }),
  });
}

type Created = Awaited<ReturnType<ConsoleClient['createToken']>>;

function usesText({ device, maxUses }: Created['token']): string {
  return device === undefined ? counted(maxUses, 'device') : `device ${device}`;
}

type TokenPage = Awaited<ReturnType<ConsoleClient['listTokens']>>;

const list = runWithServer(async (server, { form }) => {
  const tokens = await everyPage<TokenPage[number]>((end) =>
    server.listTokens(end === undefined ? {} : { after: end.id }),
  );
  if (form === 'json') return printJson(tokens);
  printTable(
    ['TOKEN', 'STATE', 'USES', 'GROUP', 'DEVICE', 'EXPIRES', 'LOAD TEST FROM'],
    tokens.map((t) => [
      t.id,
      stateText(t.state),
      `${t.uses}/${t.maxUses}`,
      t.group,
      t.device ?? '',
      t.expiresAt,
      t.loadTest?.from.join(' ') ?? '',
    ]),
    { nothing: 'there is no bootstrap token: "rollcall token create" makes one' },
  );
});

/** The API calls the state of a revoked token "void". */
function stateText(state: TokenPage[number]['state']): string {
  return state === 'void' ? 'revoked' : state;
}

const revoke = runWithServer(async (server, { args, form }) => {
  const token = await server.revokeToken({ id: args[0] as string });
  if (form === 'json') printJson(token);
  else printResult(`token ${token.id} is revoked; ${token.uses} of ${token.maxUses} uses enrolled a device`);
});

interface IssuedOptions extends ConfirmOptions {
  readonly revoke?: boolean;
  readonly suspend?: boolean;
  readonly quarantine?: boolean;
}

const issued = runWithServer<IssuedOptions>(async (server, { args, options, form }) => {
  const id = args[0] as string;
  const acts = (['revoke', 'suspend', 'quarantine'] as const).filter((act) => options[act] === true);
  const [act] = acts;
  if (acts.length > 1) throw new Problem('usage', { reason: `expected one of --${acts.join(' and --')}` });
  if (act === undefined) return printIssued(await allIssuedFrom(server, id), form);
  if (options.dryRun !== true)
    return printProof(await server.applyToIssuedFrom({ id, act, ...confirmOf(options) }), form);
  printSelection(
    await server.selectDevices({ act, token: id, ...(act === 'revoke' && { reason: 'keyCompromise' }) }),
    form,
  );
});

type Issued = Awaited<ReturnType<ConsoleClient['showIssuedFrom']>>;

async function allIssuedFrom(server: ConsoleClient, id: string): Promise<Issued> {
  const { token, devices: first } = await server.showIssuedFrom({ id });
  const devices = await everyPage<Issued['devices'][number]>(async (end) =>
    end === undefined ? first : (await server.showIssuedFrom({ id, after: end.device as DeviceId })).devices,
  );
  return { token, devices: [...devices] };
}

function printIssued({ token, devices }: Issued, form: OutputForm): void {
  if (form === 'json') {
    printJson({ token, devices });
    return;
  }
  printResult(
    `token ${token.id}, created ${token.mintedAt} by ${token.mintedBy}, ${stateText(token.state)}, used ${token.uses}/${token.maxUses}`,
  );
  printTable(
    ['DEVICE', 'DEVICE STATUS', 'CERTIFICATE', 'STATUS', 'ISSUED', 'FROM', 'ADDRESS'],
    devices.flatMap(({ device, status, certificates }) =>
      certificates.map((c) => [
        device,
        status,
        c.serial,
        c.status,
        c.issuedAt,
        c.parentSerial ?? 'the token',
        c.address ?? '',
      ]),
    ),
    { nothing: 'nothing was issued from it' },
  );
}

export function tokenCommand(): Command {
  const token = new Command('token').description(
    'bootstrap tokens: create, list, revoke, and what was issued from one',
  );
  addRenamed(token, { name: 'create', formerName: 'mint' }, (command) => {
    withServerOptions(command.description('create a bootstrap token and print its text, once'))
      .option('--uses <n>', 'how many devices may enroll with it', integerBetween(1, 1_000_000), 1)
      .option(
        '--ttl <duration>',
        'time until it expires, at most 30d (default: 24h; 1h with --load-test, at most 24h)',
        duration,
      )
      .option('--group <group>', 'group of the devices that enroll with it', groupName)
      .option('--device <id>', 'the only device that may enroll with it', deviceId)
      .option('--label <k=v>', 'label of the devices that enroll with it; may be repeated', label)
      .option('--out <file>', 'write it to a new file that only its owner can read, instead of printing it')
      .option(
        '--load-test <address>',
        'until it expires, exempt this address or network from the limits per address; may be repeated',
        repeated,
      )
      .option(
        '--load-test-rate <n>',
        'with --load-test: connections and requests per second (default: 200)',
        integerBetween(1, 10_000),
      )
      .action(create);
  });
  withServerOptions(token.command('list').description('list bootstrap tokens, without their secrets')).action(list);
  addRenamed(token, { name: 'revoke', formerName: 'void' }, (command) => {
    withServerOptions(
      command.argument('<id>').description('revoke a bootstrap token: nothing can enroll with it any more'),
    ).action(revoke);
  });
  addRenamed(token, { name: 'issued', formerName: 'blast' }, (command) => {
    const described = command
      .argument('<id>')
      .description('list every device and certificate that was issued from a token, renewals included');
    withConfirmOptions(withServerOptions(described))
      .option('--revoke', 'revoke the token and its devices (reason: keyCompromise)')
      .option('--suspend', 'revoke the token and suspend its devices')
      .option('--quarantine', 'revoke the token and quarantine its devices')
      .action(issued);
  });
  return token;
}
