/** The policies that there are, and their versions: listed, restored, removed. */

import { Problem } from '@rollcall/protocol';
import type { Command } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { integerBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { printJson, printResult, printTable } from '../terminal.ts';
import { partsOf, scopeOf } from './policy-scope.ts';

type PolicyPage = Awaited<ReturnType<ConsoleClient['listPolicies']>>;
type VersionPage = Awaited<ReturnType<ConsoleClient['listPolicyVersions']>>;

const list = runWithServer(async (server, { form }) => {
  const policies = await everyPage<PolicyPage[number]>((end) =>
    server.listPolicies(end === undefined ? {} : { after: end.scope }),
  );
  if (form === 'json') return printJson(policies);
  printTable(
    ['SCOPE', 'POLICY', 'DECIDES FOR', 'SET', 'BY'],
    policies.map(({ scope, isDefault, decidedBy, members, setAt = '', setBy = '' }) => [
      scope,
      isDefault ? decidedBy : 'its own',
      String(members),
      setAt,
      setBy,
    ]),
    { nothing: 'there is no policy' },
  );
});

const history = runWithServer(async (server, { args, form }) => {
  const scope = scopeOf(args[0] as string);
  const versions = await everyPage<VersionPage[number]>((end) =>
    server.listPolicyVersions({ ...partsOf(scope), ...(end !== undefined && { before: end.version }) }),
  );
  if (form === 'json') return printJson(versions);
  printTable(
    ['VERSION', 'AT', 'BY', 'CHANGE'],
    versions.map((version) => [String(version.version), version.at, version.actor, changeText(version)]),
    { nothing: `no policy of ${scope} was ever set` },
  );
});

function changeText({ policy, restores }: VersionPage[number]): string {
  const change = policy === undefined ? 'removed' : 'set';
  return restores === undefined ? change : `${change} as version ${restores}`;
}

const restore = runWithServer(async (server, { args, form }) => {
  const scope = scopeOf(args[0] as string);
  const version = integerBetween(1, Number.MAX_SAFE_INTEGER)(args[1] as string);
  const effective = await server.restorePolicy({ ...partsOf(scope), version });
  if (form === 'json') printJson(effective);
  else printResult(`policy of ${scope} is as in version ${version}; it applies to live sessions at once`);
});

const remove = runWithServer(async (server, { args, form }) => {
  const scope = scopeOf(args[0] as string);
  const effective = await server.removePolicy(partsOf(scope));
  if (form === 'json') printJson(effective);
  else
    printResult(`policy of ${scope} is removed; ${sourceText(effective.decidedBy)} applies to live sessions at once`);
});

function sourceText(decidedBy: string): string {
  return decidedBy === 'built-in' ? 'the built-in policy' : `the policy of ${decidedBy}`;
}

/** The policy that a version set. Problem `version_unknown` for another number, and for a version that removed it. */
export async function policyOfVersion(server: ConsoleClient, scope: string, version: number) {
  const [found] = await server.listPolicyVersions({
    ...partsOf(scopeOf(scope)),
    before: version + 1,
    limit: 1,
  });
  if (found?.version !== version || found.policy === undefined) throw new Problem('version_unknown');
  return found.policy;
}

export function addPolicyHistory(policy: Command): void {
  withServerOptions(
    policy.command('list').description('list policies, defaults, and groups and services that use one'),
  ).action(list);
  withServerOptions(
    policy.command('history').argument('<group>').description('list the versions of a policy, newest first'),
  ).action(history);
  withServerOptions(
    policy
      .command('restore')
      .argument('<group>')
      .argument('<version>', 'number from "policy history"')
      .description('set or remove a policy as an earlier version has it'),
  ).action(restore);
  withServerOptions(
    policy
      .command('remove')
      .argument('<group>')
      .description('remove the rules of a group or service: the default applies'),
  ).action(remove);
}
