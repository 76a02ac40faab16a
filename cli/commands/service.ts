import { NAME_RULE, Problem, parseServiceName, type ServiceName } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { runLater, runWithServer, withJsonOption, withServerOptions } from '../command-line.ts';
import { everyPage } from '../every-page.ts';
import { loopbackAdvice } from '../public-names.ts';
import { note, printJson, printResult, printTable } from '../terminal.ts';

interface IssueOptions {
  readonly out: string;
  readonly again?: boolean;
}

const issue = runWithServer<IssueOptions>(async (server, { args, options, form }) => {
  const name = serviceName(args[0] as string);
  // The SDKs, which no other command of services needs, except renew.
  const { prepareCredentials } = await import('../credential-files.ts');
  const { serviceFileText } = await import('@rollcall/service-sdk/credentials');
  const credentials = prepareCredentials(options.out, name);
  const { again = false } = options;
  const issued = await server.issueService({ name, csrPem: credentials.csrPem, again }).catch((error: unknown) => {
    throw error instanceof Problem && error.code === 'service_exists' ? existing(error, name) : error;
  });
  const files = credentials.complete({ ...issued, serviceFile: serviceFileText({ ...issued, name }) });
  if (form === 'json') printJson({ ...issued.service, ...files });
  else {
    printResult(
      `service ${name}: credentials written to ${options.out}; client ids ${name} and ${name}-*; ` +
        `valid until ${issued.service.expiresAt}: "rollcall service renew ${options.out}" renews them`,
    );
    const advice = loopbackAdvice('service.json', issued.enrollUrl);
    if (advice !== undefined) note(advice);
  }
});

/** A certificate is renewed where it is; another one is issued beside it. */
function existing(error: Problem, name: string): Problem {
  return new Problem('service_exists', {
    detail: error.detail,
    hint: `"rollcall service renew DIR" renews the certificate in DIR; "rollcall service issue ${name} --again" issues another one beside it`,
  });
}

type ServicePage = Awaited<ReturnType<ConsoleClient['listServices']>>;

const list = runWithServer(async (server, { form }) => {
  const services = await everyPage<ServicePage[number]>((end) =>
    server.listServices(end === undefined ? {} : { after: end.name }),
  );
  if (form === 'json') return printJson(services);
  printTable(
    ['SERVICE', 'STATUS', 'ISSUED', 'EXPIRES', 'REVOKED'],
    services.map((s) => [s.name, s.status, s.issuedAt, s.expiresAt ?? '', s.revokedAt ?? '']),
    { nothing: 'there is no service: "rollcall service issue NAME --out DIR" makes one' },
  );
});

const revoke = runWithServer(async (server, { args, form }) => {
  const result = await server.revokeService({ name: serviceName(args[0] as string) });
  if (form === 'json') printJson(result);
  else printResult(`service ${args[0]} is revoked; ${result.sessionsClosed} live sessions closed`);
});

function serviceName(text: string): ServiceName {
  const name = parseServiceName(text);
  if (name === undefined) throw new InvalidArgumentError(`expected a service name of ${NAME_RULE}`);
  return name;
}

export function serviceCommand(): Command {
  const service = new Command('service').description(
    'services (back-end applications): issue a certificate, renew it, list, revoke',
  );
  withServerOptions(service.command('issue').argument('<name>').description('issue a certificate for a service'))
    .requiredOption('--out <dir>', 'directory for key.pem, cert.pem, ca.pem and service.json')
    .option('--again', 'issue another certificate for a service that exists; its other certificates stay valid')
    .action(issue);
  withJsonOption(
    service
      .command('renew')
      .argument('<dir>')
      .description(
        'renew the certificate in a directory when it is due, with a new key; runs where the application runs',
      ),
  )
    .option('--force', 'renew also before it is due')
    .option('--daemon', 'keep running and renew whenever it is due')
    .option('--exec <command>', 'shell command to run after each renewal, such as one that reloads the application')
    .option('--enroll-url <url>', 'enroll server, in place of the one in service.json')
    .action(runLater(async () => (await import('./service-renew.ts')).renew));
  withServerOptions(service.command('list').description('list services')).action(list);
  withServerOptions(
    service
      .command('revoke')
      .argument('<name>')
      .description('revoke a service: end its sessions and refuse its certificates'),
  ).action(revoke);
  return service;
}
