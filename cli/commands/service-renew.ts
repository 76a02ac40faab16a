/**
 * `rollcall service renew DIR`: renews the certificate of a service where its application runs. It needs the directory and
 * the enroll server, and neither a data directory nor the operator socket.
 */

import { spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { DeviceError } from '@rollcall/device-sdk';
import { CredentialRenewer, isRenewalDue, renewCredentials } from '@rollcall/device-sdk/building-blocks';
import { Problem } from '@rollcall/protocol';
import { openServiceDirectory, type ServiceIdentity } from '@rollcall/service-sdk/credentials';
import { run } from '../command-line.ts';
import { sdkProblem, withProblems } from '../sdk-errors.ts';
import { untilStopped } from '../stop-signals.ts';
import { note, type OutputForm, printJson, printResult } from '../terminal.ts';

interface RenewOptions {
  readonly force?: boolean;
  readonly daemon?: boolean;
  readonly enrollUrl?: string;
  readonly exec?: string;
}

export const renew = run<RenewOptions>(async ({ args, options, form }) => {
  const directory = args[0] as string;
  const { store, identity } = await withProblems(() => openServiceDirectory(directory, options), hintFor);
  if (options.daemon === true) return runDaemon({ store, identity, options, form });
  if (options.force !== true) {
    const due = await isRenewalDue(identity, Date.now());
    if (!due.isDue) {
      if (due.unanswered !== undefined) note(`the enroll server was not asked: ${due.unanswered.message}`);
      return report(identity, { form, renewed: false, due: due.at });
    }
  }
  const next = await withProblems(() => renewCredentials(store, identity), hintFor);
  await runHook(options.exec);
  report(next, { form, renewed: true });
});

interface DaemonParts extends Awaited<ReturnType<typeof openServiceDirectory>> {
  readonly options: RenewOptions;
  readonly form: OutputForm;
}

/** Runs until a signal, or until the server refuses the service. */
async function runDaemon({ store, identity, options, form }: DaemonParts): Promise<void> {
  const refused = Promise.withResolvers<DeviceError>();
  const renewer = new CredentialRenewer({
    ...{ store, identity },
    onRenewed: async (next) => {
      report(next, { form, renewed: true, due: renewer.due });
      await runHook(options.exec).catch((error: Error) => note(error.message));
    },
    onRefused: refused.resolve,
    log: { debug() {}, info() {}, warn: (fields, phrase) => note(`${phrase}: ${JSON.stringify(fields)}`) },
  });
  renewer.start();
  report(identity, { form, renewed: false, due: renewer.due });
  if (options.force === true) await renewer.renew().catch(() => {}); // reported by `warn` or `onRefused`
  const refusal = await untilStopped((stopped) => Promise.race([stopped.then(() => undefined), refused.promise]));
  await renewer.close();
  if (refusal !== undefined) throw sdkProblem(refusal, hintFor(refusal.code));
}

function report(
  identity: ServiceIdentity,
  { form, renewed, due }: { readonly form: OutputForm; readonly renewed: boolean; readonly due?: number },
): void {
  const { name, certificatePem } = identity;
  const expiresAt = new X509Certificate(certificatePem).validToDate.toISOString();
  const renewAt = due === undefined ? undefined : new Date(due).toISOString();
  if (form === 'json') printJson({ service: name, renewed, expiresAt, ...(renewAt !== undefined && { renewAt }) });
  else {
    const next = renewAt === undefined ? '' : `; the next renewal is due at ${renewAt}`;
    printResult(
      `service ${name}: certificate ${renewed ? 'renewed' : 'not due for renewal'}, valid until ${expiresAt}${next}`,
    );
  }
}

/** Runs the command of `--exec` by a shell; its output goes to standard error. */
async function runHook(command: string | undefined): Promise<void> {
  if (command === undefined) return;
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 2, 2] });
  const [code, signal] = await once(child, 'exit');
  if (code === 0) return;
  throw new Problem('internal', {
    detail: `the certificate was renewed, and the command of --exec ended with ${code ?? signal}`,
  });
}

/** What to do about a refusal. */
function hintFor(code: string): string | undefined {
  if (code === 'certificate_expired' || code === 'recovery_refused')
    return 'the certificate has ended: "rollcall service issue NAME --again --out DIR" at the server issues another one';
  if (code === 'device_revoked')
    return 'the service was revoked: "rollcall service issue NAME --out DIR" at the server issues a new certificate';
  return undefined;
}
