/** An event about a refusal, in words: who, which check, and what mends it. */

import { createHash } from 'node:crypto';
import {
  type DeviceId,
  type LifecycleEvent,
  type LifecycleType,
  parseDeviceId,
  UNKNOWN_NAME,
} from '@rollcall/protocol';
import type { PresentedCertificate, RefusalFacts, RefusalKind, RefusedParty } from '../../console/index.ts';
import { type Advice, connectionAdvice, requestAdvice, topicAdvice } from './refusal-advice.ts';

export const KIND_OF_TYPE = {
  'presence.connect_failed': 'connection',
  'enroll.refused': 'enrollment',
  'cert.renewal_refused': 'renewal',
  'security.acl_denied': 'topic',
} as const satisfies Partial<Record<LifecycleType, RefusalKind>>;

export type RefusalType = keyof typeof KIND_OF_TYPE;

export const REFUSAL_TYPES = Object.keys(KIND_OF_TYPE) as readonly RefusalType[];

export function isRefusalType(type: string): type is RefusalType {
  return Object.hasOwn(KIND_OF_TYPE, type);
}

type Data = Readonly<Record<string, string | undefined>>;

export function refusalOfEvent(type: RefusalType, { subject, time, data: values }: LifecycleEvent): RefusalFacts {
  const kind = KIND_OF_TYPE[type];
  const data = values as Data;
  const code = codeOf(kind, data);
  const party = partyOf(kind, subject, data);
  const { sentence, remedy } = adviceOf(kind, code, data);
  const { leftOut } = values;
  return {
    key: createHash('sha256')
      .update(JSON.stringify([kind, code, party]))
      .digest('base64url')
      .slice(0, 16),
    kind,
    code,
    party,
    detail: kind === 'topic' ? data.why : data.detail,
    at: Date.parse(time),
    leftOut: typeof leftOut === 'number' ? leftOut : 0,
    address: data.ip,
    token: tokenOf(data),
    topic: data.topic,
    certificate: kind === 'topic' ? undefined : certificateOf(data),
    sentence,
    remedy: withNames(remedy, party, tokenOf(data)),
  };
}

function codeOf(kind: RefusalKind, { reason, refusal, verb }: Data): string {
  const code = kind === 'connection' ? reason : kind === 'topic' ? verb && `${verb}_denied` : refusal;
  return code ?? 'unknown';
}

function adviceOf(kind: RefusalKind, code: string, { detail, why }: Data): Advice {
  if (kind === 'connection') return connectionAdvice(code, detail);
  return kind === 'topic' ? topicAdvice(why) : requestAdvice(code, detail);
}

function tokenOf({ actor }: Data): string | undefined {
  return actor?.startsWith('token/') === true ? actor.slice('token/'.length) : undefined;
}

function certificateOf(data: Data): PresentedCertificate | undefined {
  if (data.certSerial === undefined && data.certSubject === undefined) return undefined;
  return {
    subject: data.certSubject,
    issuer: data.certIssuer,
    names: data.certSan,
    serial: data.certSerial,
    fingerprint: data.certFingerprint,
    notBefore: data.certNotBefore,
    notAfter: data.certNotAfter,
  };
}

function partyOf(kind: RefusalKind, subject: string | undefined, data: Data): RefusedParty {
  const [holder, name = UNKNOWN_NAME] = subject?.split('/', 2) ?? [];
  if (name !== UNKNOWN_NAME) {
    if (holder === 'services') return { kind: 'service', name };
    return { kind: kind === 'enrollment' ? 'requested' : 'device', name };
  }
  const claimed = claimedName(data);
  if (claimed !== undefined) return { kind: 'claimed', name: claimed };
  const token = tokenOf(data);
  if (token !== undefined) return { kind: 'token', name: token };
  return data.ip === undefined ? { kind: 'unknown', name: UNKNOWN_NAME } : { kind: 'address', name: data.ip };
}

/** The device that a certificate names, or its subject. Anybody can write such a certificate. */
function claimedName({ certSan = '', certSubject }: Data): string | undefined {
  return deviceOfUri(certSan) ?? deviceOfSubject(certSubject) ?? certSubject;
}

function deviceOfUri(names: string): DeviceId | undefined {
  const path = names.split(', ').find((name) => name.startsWith('URI:spiffe://'));
  return parseDeviceId(/\/device\/([^/]+)$/.exec(path ?? '')?.[1] ?? '');
}

function deviceOfSubject(subject = ''): DeviceId | undefined {
  const name = subject.split(', ').findLast((part) => part.startsWith('CN='));
  return parseDeviceId(name?.slice('CN='.length) ?? '');
}

/** Ids have no character that a shell reads, so that a command with them may be copied. */
function withNames(remedy: string, { kind, name }: RefusedParty, token: string | undefined): string {
  const isDevice = kind === 'device' || kind === 'requested' || kind === 'claimed';
  const named = isDevice && parseDeviceId(name) !== undefined ? remedy.replaceAll(/\bID\b/g, name) : remedy;
  return token !== undefined && TOKEN_ID.test(token) ? named.replaceAll(/\bTOKEN\b/g, token) : named;
}

const TOKEN_ID = /^[0-9a-f]{16}$/;
