import { NAME_RULE, parseServiceName, type ServiceName } from '@rollcall/protocol';
import { Command, InvalidArgumentError } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { runWithServer, withServerOptions } from '../command-line.ts';
import { prepareCredentials } from '../credential-files.ts';
import { everyPage } from '../every-page.ts';
import { printJson, printResult, table } from '../terminal.ts';

const issue = runWithServer<{ readonly out: string }>(async (server, { args, options, form }) => {
  const name = serviceName(args[0] as string);
  const credentials = prepareCredentials(options.out, name);
  const issued = await server.issueService({ name, csrPem: credentials.csrPem });
  const files = credentials.complete(issued.certificatePem, issued.caPem);
  if (form === 'json') printJson({ ...issued.service, ...files });
  else printResult(`service ${name}: credentials written to ${options.out}; client ids ${name} and ${name}-*`);
});

type ServicePage = Awaited<ReturnType<ConsoleClient['listServices']>>;

const list = runWithServer(async (server, { form }) => {
  const services = await everyPage<ServicePage[number]>((end) =>
    server.listServices(end === undefined ? {} : { after: end.name }),
  );
  if (form === 'json') return printJson(services);
  printResult(
    table(
      ['SERVICE', 'STATUS', 'ISSUED', 'REVOKED'],
      services.map((s) => [s.name, s.status, s.issuedAt, s.revokedAt ?? '']),
    ),
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
    'services (back-end applications): issue a certificate, list, revoke',
  );
  withServerOptions(service.command('issue').argument('<name>').description('issue a certificate for a service'))
    .requiredOption('--out <dir>', 'directory for key.pem, cert.pem and ca.pem')
    .action(issue);
  withServerOptions(service.command('list').description('list services')).action(list);
  withServerOptions(
    service
      .command('revoke')
      .argument('<name>')
      .description('revoke a service: end its sessions and refuse its certificates'),
  ).action(revoke);
  return service;
}
