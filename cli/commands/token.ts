import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { Command, Option } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { deviceId, duration, findsServer, groupName, integerBetween, label, runWithServer } from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { type OutputForm, printJson, printResult, table } from '../terminal.ts';
import {
  asksForConfirmation,
  type ConfirmOptions,
  confirmOf,
  printProof,
  printSelection,
} from './device-operations.ts';

interface MintOptions {
  readonly uses: number;
  readonly ttl: number;
  readonly group?: GroupName;
  readonly device?: DeviceId;
  readonly label?: Readonly<Record<string, string>>;
}

const mint = runWithServer<MintOptions>(async (server, { options, form }) => {
  const minted = await server.mintToken({
    uses: options.uses,
    ttlSeconds: Math.round(options.ttl / 1000),
    ...(options.group !== undefined && { group: options.group }),
    ...(options.device !== undefined && { device: options.device }),
    ...(options.label !== undefined && { labels: options.label }),
  });
  if (form === 'json') printJson(minted);
  else printResult(minted.text);
});

type TokenPage = Awaited<ReturnType<ConsoleClient['listTokens']>>;

const list = runWithServer(async (server, { form }) => {
  const tokens = await everyPage<TokenPage[number]>((end) =>
    server.listTokens(end === undefined ? {} : { after: end.id }),
  );
  if (form === 'json') return printJson(tokens);
  printResult(
    table(
      ['TOKEN', 'STATE', 'USES', 'GROUP', 'DEVICE', 'EXPIRES'],
      tokens.map((t) => [t.id, t.state, `${t.uses}/${t.maxUses}`, t.group, t.device ?? '', t.expiresAt]),
    ),
  );
});

const voidToken = runWithServer(async (server, { args, form }) => {
  const token = await server.voidToken({ id: args[0] as string });
  if (form === 'json') printJson(token);
  else printResult(`token ${token.id} is void; it enrolled ${token.uses} of ${token.maxUses}`);
});

interface BlastOptions extends ConfirmOptions {
  readonly revoke?: boolean;
  readonly suspend?: boolean;
  readonly quarantine?: boolean;
}

const blast = runWithServer<BlastOptions>(async (server, { args, options, form }) => {
  const id = args[0] as string;
  const acts = (['revoke', 'suspend', 'quarantine'] as const).filter((act) => options[act] === true);
  const [act] = acts;
  if (acts.length > 1) throw new Problem('usage', { reason: `expected one of --${acts.join(' and --')}` });
  if (act === undefined) return showBlast(await wholeBlast(server, id), form);
  if (options.dryRun !== true) return printProof(await server.actOnBlast({ id, act, ...confirmOf(options) }), form);
  printSelection(
    await server.selectDevices({ act, token: id, ...(act === 'revoke' && { reason: 'keyCompromise' }) }),
    form,
  );
});

type Blast = Awaited<ReturnType<ConsoleClient['showBlast']>>;

async function wholeBlast(server: ConsoleClient, id: string): Promise<Blast> {
  const { token, devices: first } = await server.showBlast({ id });
  const devices = await everyPage<Blast['devices'][number]>(async (end) =>
    end === undefined ? first : (await server.showBlast({ id, after: end.device as DeviceId })).devices,
  );
  return { token, devices: [...devices] };
}

function showBlast({ token, devices }: Blast, form: OutputForm): void {
  if (form === 'json') {
    printJson({ token, devices });
    return;
  }
  printResult(
    `token ${token.id}, minted ${token.mintedAt} by ${token.mintedBy}, ${token.state}, used ${token.uses}/${token.maxUses}`,
  );
  printResult(
    table(
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
    ),
  );
}

export function tokenCommand(): Command {
  const token = new Command('token').description('bootstrap tokens: what lets a device enroll');
  findsServer(token.command('mint').description('mint a bootstrap token and print its text, once'))
    .option('--uses <n>', 'how many devices may enroll with it', integerBetween(1, 1_000_000), 1)
    .addOption(
      new Option('--ttl <duration>', 'how long it lives, at most 30d').argParser(duration).default(86_400_000, '24h'),
    )
    .option('--group <group>', 'group its devices belong to', groupName)
    .option('--device <id>', 'the only device that may use it', deviceId)
    .option('--label <k=v>', 'label its devices carry; may be repeated', label)
    .action(mint);
  findsServer(token.command('list').description('list bootstrap tokens, never their secrets')).action(list);
  findsServer(token.command('void').argument('<id>').description('make a bootstrap token worthless')).action(voidToken);
  asksForConfirmation(
    findsServer(
      token.command('blast').argument('<id>').description('everything that came of a token, through all renewals'),
    ),
  )
    .option('--revoke', 'void the token and revoke the devices, as their keys may be in other hands')
    .option('--suspend', 'void the token and suspend the devices')
    .option('--quarantine', 'void the token and quarantine the devices')
    .action(blast);
  return token;
}
