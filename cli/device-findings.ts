/** The diagnosis of a device in findings and sentences. */

import type { ConsoleClient } from '../console/client.ts';
import type { Finding } from '../console/index.ts';
import { findingText } from './doctor-findings.ts';
import { onNode } from './node-text.ts';

export type Diagnosis = Awaited<ReturnType<ConsoleClient['diagnoseDevice']>>;
type Refusal = Diagnosis['refusals'][number];

const RESTRICTED: Readonly<Record<string, string>> = {
  suspended: 'rollcall device resume ID, when it may connect again',
  quarantined: 'rollcall device resume ID, when it is trusted again',
  revoked: 'rollcall token create --device ID, if it should enroll again',
};

const UNHEARD =
  'if there is no refusal below, nothing of the device reaches the server: run "rollcall-device doctor" there';

const ATTRIBUTIONS: Readonly<Record<Refusal['attribution'], string>> = {
  device: 'the server knew the device, or the request named it',
  certificate: 'the certificate was issued to the device',
  token: 'the token is for the device',
  name: 'a certificate that was not accepted names the device: it may be another machine',
  address: 'it came from the address that the device used last: it may be another machine',
};

/** Status, certificate, session, tokens and refusals. */
export function deviceFindings(diagnosis: Diagnosis): readonly Finding[] {
  return [
    statusFinding(diagnosis),
    ...certificateFindings(diagnosis),
    sessionFinding(diagnosis),
    ...tokenFindings(diagnosis),
    refusalFinding(diagnosis),
  ];
}

function statusFinding(found: Diagnosis): Finding {
  const { device, status, group, enrolledAt, restrictedAt, revokedAt, revocationReason } = found;
  if (status === 'unknown') {
    const fix = 'if it should be here: rollcall token create --device ID, and read the refusals below';
    return {
      check: 'device',
      outcome: 'failed',
      found: `${device} never enrolled here, or was deleted`,
      fix: fill(fix, device),
    };
  }
  const since = revokedAt ?? restrictedAt;
  const why = revocationReason === undefined ? '' : ` (${revocationReason})`;
  const text = `${device} is ${status}${why}${since === undefined ? '' : ` since ${since}`}, in group ${group}, enrolled ${enrolledAt}`;
  const fix = RESTRICTED[status];
  if (fix === undefined) return { check: 'device', outcome: 'ok', found: text };
  return { check: 'device', outcome: 'failed', found: text, fix: fill(fix, device) };
}

function certificateFindings({ certificate, device, serverTime }: Diagnosis): readonly Finding[] {
  if (certificate === undefined) return [];
  const { serial, status, notBefore, notAfter } = certificate;
  const found = `the newest one has serial ${serial}, is ${status}, and is valid from ${notBefore} to ${notAfter}; the server's clock says ${serverTime}`;
  if (status === 'good') return [{ check: 'certificate', outcome: 'ok', found }];
  const fix = fill('rollcall token create --device ID, unless the device can recover it (docs/renewal.md)', device);
  return [{ check: 'certificate', outcome: 'failed', found, fix }];
}

function sessionFinding(diagnosis: Diagnosis): Finding {
  const { session, online, broker, connectedAt, lastSeenAt, lastAddress, lastDisconnect, status } = diagnosis;
  if (session !== undefined) {
    const found = `connected since ${session.connectedAt} ${onNode(session.node)}from ${session.address}, with serial ${session.serial}`;
    return { check: 'session', outcome: 'ok', found };
  }
  if (online) {
    const found = `connected to ${broker} since ${connectedAt} from ${lastAddress}`;
    return { check: 'session', outcome: 'ok', found };
  }
  if (connectedAt === undefined) {
    const found = 'not connected, and it never was';
    if (status === 'unknown') return { check: 'session', outcome: 'skipped', found };
    return { check: 'session', outcome: 'warning', found, fix: UNHEARD };
  }
  const end = lastDisconnect === undefined ? '' : `; disconnected ${lastDisconnect.at} (${lastDisconnect.reason})`;
  const found = `not connected; connected last ${connectedAt} from ${lastAddress ?? '-'}, last seen ${lastSeenAt ?? '-'}${end}`;
  return { check: 'session', outcome: 'warning', found, fix: UNHEARD };
}

function tokenFindings({ tokens }: Diagnosis): readonly Finding[] {
  return tokens.map(({ id, state, uses, maxUses, expiresAt }) => ({
    check: 'token',
    outcome: 'ok' as const,
    found: `${id} is ${state === 'void' ? 'revoked' : state}: ${uses} of ${maxUses} uses, expires ${expiresAt}`,
  }));
}

function refusalFinding({ device, refusals, since, session, connectedAt }: Diagnosis): Finding {
  const [newest] = refusals;
  if (newest === undefined) return { check: 'refusals', outcome: 'ok', found: `none since ${since}` };
  const kinds = refusals.length === 1 ? 'of one kind' : `of ${refusals.length} kinds`;
  const found = `${kinds} since ${since}, the newest ${newest.lastAt}: ${newest.sentence}`;
  const isOver = session !== undefined || (connectedAt !== undefined && connectedAt > newest.lastAt);
  if (isOver) return { check: 'refusals', outcome: 'ok', found: `${found}; the device connected after it` };
  return { check: 'refusals', outcome: 'failed', found, fix: fill(newest.remedy, device, newest.token) };
}

/** Several lines about one refusal. */
export function refusalText(refusal: Refusal, device: string): string {
  const { kind, code, detail, firstAt, lastAt, count, isAtLeast, addresses, token, certificate, attribution } = refusal;
  const times = `${isAtLeast ? 'at least ' : ''}${count} ${count === 1 ? 'time' : 'times'}`;
  const span = count === 1 ? lastAt : `${firstAt} to ${lastAt}`;
  const lines = [
    `${kind} refused ${times}, ${span}, from ${addresses.join(', ') || '-'}`,
    `  reason       ${code}${detail === undefined || detail === code ? '' : `: ${detail}`}`,
    `  check        ${refusal.sentence}`,
  ];
  if (certificate !== undefined) {
    const { subject = '-', issuer = '-', serial, notBefore = '-', notAfter = '-' } = certificate;
    lines.push(`  certificate  subject ${subject}; issuer ${issuer}; serial ${serial}`);
    lines.push(`               valid from ${notBefore} to ${notAfter}`);
  }
  if (token !== undefined) lines.push(`  token        ${token}`);
  lines.push(`  why here     ${ATTRIBUTIONS[attribution]}`);
  lines.push(`  -> ${fill(refusal.remedy, device, token)}`);
  return lines.join('\n');
}

export function diagnosisText(diagnosis: Diagnosis): string {
  const findings = deviceFindings(diagnosis).map(findingText).join('\n');
  const refusals = diagnosis.refusals.map((refusal) => refusalText(refusal, diagnosis.device));
  return [findings, ...refusals].join('\n\n');
}

/** Puts the device id and the token into a command. */
function fill(text: string, device: string, token = 'TOKEN'): string {
  return text.replace(/\bID\b/g, device).replace(/\bTOKEN\b/g, token);
}
