import { Command, Option } from 'commander';
import type { DeviceId, GroupName } from '../../contract/identity.ts';
import { deviceId, duration, findsServer, groupName, integerBetween, label, runWithServer } from '../command-line.ts';
import { printJson, printResult, table } from '../terminal.ts';

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

const list = runWithServer(async (server, { form }) => {
  const tokens = await server.listTokens();
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
  return token;
}
