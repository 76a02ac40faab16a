/** `rollcall node token` on a node of the fleet, and `rollcall node join` on the host that becomes one. */

import {
  canonicalHost,
  isLoopbackHost,
  NODE_NAME,
  NODE_NAME_RULE,
  NODE_ROLES,
  type NodeRole,
  Problem,
  parseBootstrapToken,
  parseEnrollUrl,
  urlHost,
} from '@rollcall/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import {
  durationBetween,
  repeated,
  run,
  runWithServer,
  someOf,
  withJsonOption,
  withServerOptions,
} from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { namesOfNode } from '../join/node-names.ts';
import { createPrivateFile, isOutputReadableByOthers } from '../new-file.ts';
import { tokenAdvice } from '../public-names.ts';
import { readSecretArgument } from '../secret-argument.ts';
import { note, printJson, printResult, printTable } from '../terminal.ts';

interface TokenOptions {
  readonly ttl: number;
  readonly withCaKeys?: boolean;
  readonly out?: string;
}

const TTL_MS = 3_600_000;

const token = runWithServer<TokenOptions>(async (server, { options, form }) => {
  const { ttl, withCaKeys = false, out } = options;
  const file = out === undefined ? undefined : createPrivateFile(out);
  const created = await server
    .createNodeToken({ ttlSeconds: Math.round(ttl / 1_000), withCaKeys })
    .catch((error: unknown) => {
      file?.discard();
      throw error;
    });
  const { text, ...rest } = created;
  file?.write(`${text}\n`);
  if (form === 'json') return printJson(file === undefined ? created : { ...rest, file: out });
  const url = parseBootstrapToken(text)?.enrollUrl;
  const roles = withCaKeys ? 'mqtt,enroll,console' : 'mqtt,console';
  // Without it the node listens on its own machine alone, as this one does then.
  const host = url === undefined || isLoopbackHost(urlHost(url)) ? '' : ' --host ADDRESS';
  printResult(file === undefined ? text : `token ${rest.id} written to ${out}`);
  note(
    `for one host until ${rest.expiresAt}; there, with the token in a file: ` +
      `rollcall node join ${url ?? 'URL'} --token-file FILE --name NAME --roles ${roles} --data DIR${host}`,
  );
  if (file === undefined && isOutputReadableByOthers()) {
    note('other users can read the file that holds the token: chmod 600 FILE, or use --out FILE instead of > FILE');
  }
  const advice = tokenAdvice(text);
  if (advice !== undefined) note(advice);
});

type NodeTokens = Awaited<ReturnType<ConsoleClient['listNodeTokens']>>;

const listTokens = runWithServer(async (server, { form }) => {
  const tokens = await everyPage<NodeTokens[number]>((end) =>
    server.listNodeTokens(end === undefined ? {} : { after: end.id }),
  );
  if (form === 'json') return printJson(tokens);
  printTable(
    ['TOKEN', 'CA KEYS', 'EXPIRES', 'CREATED', 'BY'],
    tokens.map(({ id, withCaKeys, expiresAt, createdAt, createdBy }) => [
      ...[id, withCaKeys ? 'yes' : 'no', expiresAt, createdAt, createdBy],
    ]),
    { nothing: 'no host can join now: "rollcall node token" makes a token' },
  );
});

const revokeToken = runWithServer(async (server, { args, form }) => {
  const id = args[0] as string;
  // A whole token on the command line is in the list of processes: it is not sent, and not repeated.
  if (id.length > 16) throw new Problem('usage', { reason: 'expected the id of a node token, not the token itself' });
  const revoked = await server.revokeNodeToken({ id });
  if (form === 'json') return printJson(revoked);
  printResult(`node token ${revoked.id} is revoked: no host joins with it`);
});

interface JoinOptions {
  readonly tokenFile?: string;
  readonly name: string;
  readonly roles: readonly NodeRole[];
  readonly data: string;
  readonly host?: string;
  readonly publicHost?: readonly string[];
}

const join = run<JoinOptions>(async ({ args, options, form }) => {
  const { name, roles, data, host, publicHost = [], tokenFile } = options;
  const parsed = parseBootstrapToken(
    readSecretArgument(tokenFile === undefined ? '-' : `@${tokenFile}`, '--token-file'),
  );
  if (parsed === undefined) throw new Problem('usage', { reason: 'expected the text of a node token' });
  const url = args[0] === undefined ? parsed.enrollUrl : parseEnrollUrl(args[0]);
  if (url === undefined) throw new Problem('usage', { reason: 'expected a URL of the form https://host:port' });
  const publicHosts = namesOfNode(publicHost, urlHost(parsed.enrollUrl));
  // Loaded here: other commands start faster without them.
  const { prepareNode } = await import('../join/node-files.ts');
  const { joinFleet } = await import('../join/join-fleet.ts');
  const { expectStore } = await import('../../server/index.ts');
  const node = prepareNode(data);
  const joined = await joinFleet({ token: parsed, url, name, roles, hosts: publicHosts, ...node }).catch(
    (error: unknown) => {
      node.discard();
      throw withTokenHint(error);
    },
  );
  const settings = { name, roles, enrollUrl: url, host, publicHosts };
  const config = node.complete(joined, settings);
  if (form === 'json') printJson({ node: name, roles, config });
  else printResult(`${name} has joined the fleet; start it with: rollcall serve --config ${config}`);
  if (joined.authority?.home === 'pkcs11') {
    note(`the keys of the CA are in a token of PKCS#11: name it in ${config}, certificates.keys.pkcs11`);
  }
  if (joined.store.wakes !== undefined) note(`wakes go over NATS: name their credentials in ${config}, store.wakes`);
  const { loadConfig } = await import('../../server/config/load.ts');
  await expectStore(loadConfig({ file: config, environment: {}, flags: [] }).store, Date.now).catch(
    (error: unknown) => {
      const problem = error instanceof Problem ? error : new Problem('internal', { cause: error });
      throw new Problem(problem.code, {
        detail: `${name} has joined, and this host does not reach the database: ${problem.message}`,
        hint: `mend it, or the section store in ${config}, before the node is started`,
      });
    },
  );
});

function withTokenHint(error: unknown): unknown {
  if (!(error instanceof Problem) || error.code !== 'token_rejected') return error;
  return new Problem('token_rejected', {
    detail: 'the node token was not accepted: it was used, was revoked, has ended, or is none of a node',
    hint: 'make another one with "rollcall node token" on a node of the fleet',
  });
}

function nodeName(text: string): string {
  if (NODE_NAME.test(text)) return text;
  throw new InvalidArgumentError(`expected ${NODE_NAME_RULE}`);
}

function publicHost(text: string, list?: readonly string[]): readonly string[] {
  const host = canonicalHost(text);
  if (host === undefined) throw new InvalidArgumentError('expected a host name or an IP address');
  return repeated(host, list);
}

export function addNodeJoin(node: Command): void {
  const tokens = node
    .command('token')
    .description('make a one-time token by which another host joins the fleet as a node; list, revoke');
  withServerOptions(tokens)
    .option('--ttl <duration>', 'how long it can be used', durationBetween('1m', '1d'), TTL_MS)
    .option('--with-ca-keys', 'its node may have the role enroll, and gets the keys of the issuing CA')
    .option('--out <file>', 'write the token into a new file that only this user can read')
    .action(token);
  withServerOptions(
    tokens.command('list').description('list tokens by which a host can join now, without their secrets'),
  ).action(listTokens);
  withServerOptions(
    tokens
      .command('revoke')
      .argument('<id>')
      .description('revoke a node token: no host joins with it; a node that has joined stays'),
  ).action(revokeToken);
  withJsonOption(
    node
      .command('join')
      .description(
        'make this host a node of a fleet: a data directory with its certificate and its access to the store',
      )
      .argument('[url]', 'enroll server of a node, https://HOST:PORT (default: the one in the token)'),
  )
    .option('--token-file <file>', 'file with the token of "rollcall node token" (default: standard input)')
    .requiredOption('--name <name>', 'name of this node, different for each', nodeName)
    .requiredOption('--roles <roles>', 'what it serves: mqtt, enroll, console', someOf(NODE_ROLES))
    .requiredOption('--data <dir>', 'new data directory; rollcall.yaml is written into it')
    .option('--host <address>', 'address on which devices reach it (default: this machine alone)')
    .option(
      '--public-host <name>',
      'name or address of this node in its certificates, beside the one in the token; may be repeated',
      publicHost,
    )
    .action(join);
}
