/** `rollcall device show`: presence of a device, what it goes back to, its certificates, and what was done to it. */

import type { Command } from 'commander';
import type { ConsoleClient } from '../../console/client.ts';
import { runWithServer } from '../command-line.ts';
import { confirmedText, unconfirmedTexts } from '../confirmation-text.ts';
import { onNode } from '../node-text.ts';
import { printJson, printResult, table } from '../terminal.ts';
import { disconnectSentence } from './disconnect-sentences.ts';

type Device = Awaited<ReturnType<ConsoleClient['showDevice']>>;

/** Lines of the audit that are printed; `--json` has more. */
const AUDIT_LINES = 12;

export function addDeviceShow(show: Command): void {
  show
    .argument('<id>')
    .description('show a device: when it was seen last, its certificates, its token, and what was done to it')
    .action(
      runWithServer(async (server, { args, form }) => {
        const device = await server.showDevice({ id: args[0] as string });
        if (form === 'json') printJson(device);
        else printResult(describe(device));
      }),
    );
}

function describe(device: Device): string {
  const { lastDisconnect, token, children } = device;
  const labels = Object.entries(device.labels).map(([name, value]) => `${name}=${value}`);
  const client = [device.mqttVersion && `MQTT ${device.mqttVersion}`, device.sdkVersion].filter(Boolean).join(', ');
  return [
    `device    ${device.id}`,
    `group     ${device.group}`,
    `labels    ${labels.join(' ') || 'none'}`,
    `status    ${device.status}${since(device)}`,
    `session   ${sessionText(device)}`,
    `seen      ${seen(device)}`,
    ...(client === '' ? [] : [`client    ${client}`]),
    ...(lastDisconnect === undefined
      ? []
      : [`ended     ${lastDisconnect.at}: ${disconnectSentence(lastDisconnect.reason)} (${lastDisconnect.reason})`]),
    `enrolled  ${device.enrolledAt} by ${device.enrolledBy}`,
    ...(token === undefined
      ? []
      : [
          `token     ${token.id}, ${token.state === 'void' ? 'revoked' : token.state}, created ${token.createdAt} by ${token.createdBy}`,
        ]),
    ...appliedLines(device),
    ...(children.length === 0 ? [] : [`children  ${children.join(' ')}`]),
    '',
    table(
      ['CERTIFICATE', 'STATUS', 'ISSUED', 'NOT AFTER', 'FROM', 'ADDRESS', 'OPERATOR'],
      device.certificates.map((each) => [
        each.serial,
        each.status,
        each.issuedAt,
        each.notAfter,
        originOf(each),
        each.address ?? '',
        each.operator ?? '',
      ]),
    ),
    '',
    table(
      ['ENTRY', 'AT', 'ACTION', 'BY', 'OUTCOME'],
      device.audit
        .slice(0, AUDIT_LINES)
        .map(({ id, at, action, actor, outcome }) => [String(id), at, action, actor, outcome]),
    ),
  ].join('\n');
}

/** What each node did about the last operation: a line, and one for each node that has not confirmed. */
function appliedLines({ lastChange }: Device): readonly string[] {
  if (lastChange === undefined) return [];
  const { act, at, nodes } = lastChange;
  const confirmed = nodes.filter(({ state }) => state === 'confirmed').length;
  const first = `${act} at ${at}, confirmed by ${confirmedText(nodes, confirmed)}`;
  return [`applied   ${first}`, ...unconfirmedTexts(nodes).map((text) => `          ${text}`)];
}

function sessionText({ session, unanswered, online, broker, lastAddress, connectedAt }: Device): string {
  if (session !== undefined) return `${onNode(session.node)}from ${session.address} since ${session.connectedAt}`;
  const silent = unanswered.length === 0 ? '' : `; no answer from ${unanswered.join(', ')}`;
  return (online ? `${onNode(broker)}from ${lastAddress} since ${connectedAt}` : 'not connected') + silent;
}

function seen({ online, connectedAt, lastSeenAt, lastAddress }: Device): string {
  if (connectedAt === undefined) return 'never: it has not connected';
  return online ? `online since ${connectedAt}, from ${lastAddress}` : `${lastSeenAt}, from ${lastAddress}`;
}

function originOf({ parentSerial, recovered, token }: Device['certificates'][number]): string {
  if (parentSerial !== undefined) return `${recovered ? 'recovered' : 'renewed'} ${parentSerial}`;
  return token === undefined ? '' : `token ${token}`;
}

function since({ revokedAt, revocationReason, restrictedAt }: Device): string {
  if (revokedAt !== undefined) return ` (${revocationReason}, ${revokedAt})`;
  return restrictedAt === undefined ? '' : ` (since ${restrictedAt})`;
}
