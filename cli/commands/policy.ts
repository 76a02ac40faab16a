import { readFileSync } from 'node:fs';
import { formatIdentity, NAME_RULE, type PolicyDocument, Problem, parseIdentity, parseShare } from '@rollcall/protocol';
import { Command } from 'commander';
import type { DenialReason } from '../../broker/index.ts';
import type { ConsoleClient } from '../../console/client.ts';
import { integerBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { EXIT, printJson, printResult } from '../terminal.ts';
import { addPolicyHistory, policyOfVersion } from './policy-history.ts';
import { partsOf, scopeOf } from './policy-scope.ts';

/** The content of the file. A verb that is left out allows nothing. The server checks every rule. */
type PolicyInput = Omit<Parameters<ConsoleClient['setPolicy']>[0], 'kind' | 'name'>;
type PolicyAnswer = Awaited<ReturnType<ConsoleClient['explainPolicy']>>;

interface ShowOptions {
  /** Of the history. */
  readonly version?: number;
}

const POLICY_MAX_BYTES = 262_144;

const show = runWithServer<ShowOptions>(async (server, { args, options, form }) => {
  const { version } = options;
  if (version !== undefined) {
    const policy = await policyOfVersion(server, args[0] as string, version);
    if (form === 'json') printJson(policy);
    else printResult(`# version ${version}\n${policyText(policy)}`);
    return;
  }
  const effective = await server.showPolicy(partsOf(scopeOf(args[0] as string)));
  if (form === 'json') return printJson(effective);
  printResult(
    `# policy of ${effective.scope}${effective.isDefault ? ' (default)' : ''}\n${policyText(effective.policy)}`,
  );
});

const set = runWithServer(async (server, { args, form }) => {
  const scope = scopeOf(args[0] as string);
  const effective = await server.setPolicy({ ...partsOf(scope), ...(await readPolicy(args[1] as string)) });
  if (form === 'json') printJson(effective);
  else printResult(`policy of ${scope} is set; it applies to live sessions at once`);
});

const explain = runWithServer(async (server, { args, form }) => {
  const [who, verb, topic] = args as [string, 'publish' | 'subscribe' | 'receive', string];
  const identity = parseIdentity(who);
  if (identity === undefined) {
    throw new Problem('usage', { reason: `expected a device id or service/NAME, a name being ${NAME_RULE}` });
  }
  const answer = await server.explainPolicy({ identity: formatIdentity(identity), verb, topic });
  if (form === 'json') printJson(answer);
  else printResult(explanationText(answer, verb === 'subscribe' ? parseShare(topic)?.filter : undefined));
  if (!answer.allowed) process.exitCode = EXIT.failed;
});

/** `sharedFilter`: the part of `$share/GROUP/FILTER` that the rules are applied to. */
function explanationText(answer: PolicyAnswer, sharedFilter: string | undefined): string {
  const verdict = answer.allowed ? `allowed by ${answer.rule}` : `refused: ${WHY_NOT[answer.reason as DenialReason]}`;
  return sharedFilter === undefined
    ? verdict
    : `${verdict} (a shared subscription is decided by its filter ${sharedFilter})`;
}

const WHY_NOT: Readonly<Record<DenialReason, string>> = {
  no_rule: 'no rule allows it',
  topic_malformed: 'it is not a topic that MQTT allows here',
  topic_reserved: 'only the server uses this topic',
  client_id_not_own: 'the client id belongs to another device or service',
};

async function readPolicy(file: string): Promise<PolicyInput> {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw new Problem('usage', { reason: `${file} could not be read: ${(error as NodeJS.ErrnoException).code}` });
  }
  if (text.length > POLICY_MAX_BYTES) {
    throw new Problem('policy_invalid', { reason: `expected at most ${POLICY_MAX_BYTES} bytes, found ${text.length}` });
  }
  const { parse } = await import('yaml');
  let written: unknown;
  try {
    written = parse(text, { maxAliasCount: 0 });
  } catch (error) {
    throw new Problem('policy_invalid', { reason: `${file}: ${(error as Error).message.split('\n', 1)[0]}` });
  }
  // An empty file must not take every right away, nor a key in it say whose policy this is.
  const isMapping = typeof written === 'object' && written !== null && !Array.isArray(written);
  if (!isMapping || 'kind' in (written as object) || 'name' in (written as object)) {
    throw new Problem('policy_invalid', {
      reason: `${file}: expected a mapping of connect, publish, subscribe, receive and retain to lists of rules`,
    });
  }
  return written as PolicyInput;
}

function policyText(policy: PolicyDocument): string {
  return Object.entries(policy)
    .map(([verb, rules]: [string, readonly string[]]) =>
      rules.length === 0
        ? `${verb}: []\n`
        : `${verb}:\n${rules.map((rule) => `  - ${JSON.stringify(rule)}\n`).join('')}`,
    )
    .join('');
}

export function policyCommand(): Command {
  const policy = new Command('policy').description('access policies: list, show, set, explain, and their history');
  withServerOptions(policy.command('show').argument('<group>').description('show the rules of a group or service'))
    .option('--version <n>', 'as that version of the history set them', integerBetween(1, Number.MAX_SAFE_INTEGER))
    .action(show);
  withServerOptions(
    policy
      .command('set')
      .argument('<group>')
      .argument('<file>')
      .description('set the rules of a group or service from a YAML file'),
  ).action(set);
  withServerOptions(
    policy
      .command('explain')
      .argument('<identity>', 'device id, or service/NAME')
      .addArgument(new Command().createArgument('<verb>').choices(['publish', 'subscribe', 'receive']))
      .argument('<topic>')
      .description('show which rule allows a topic; exit code 1 when none does'),
  ).action(explain);
  addPolicyHistory(policy);
  return policy;
}
