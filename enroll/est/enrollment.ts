/**
 * Simple enrollment (RFC 7030, section 4.2): a device presents a bootstrap token and receives its first certificate.
 * Cheap checks come first. The registry decides twice: before the signature, and finally in step 7, whose transaction
 * consumes the token (`registry/certificates/enrollment.ts`). No certificate is returned before it is recorded. Knows no HTTP.
 */

import { canonicalHost, type DeviceId, Problem, type ProblemCode, parseDeviceId, urlHost } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { CertificateRecord, DeviceRecord, EnrollmentRefusal, Registry } from '../../registry/index.ts';
import type { ClientCertificateIssuer } from '../ca/leaf-certificates.ts';
import type { TrustBundle } from '../ca/trust-bundle.ts';
import { keyNotAllowed } from '../x509/key-policy.ts';
import type { RandomBytes } from '../x509/profile.ts';
import type { EnrollmentCredential } from './credential.ts';
import { checkCsr } from './csr.ts';
import { identityMismatch } from './requested-identity.ts';

export interface EnrollmentDeps {
  readonly issuer: Pick<ClientCertificateIssuer, 'trustDomain' | 'issue' | 'ownsKey'>;
  readonly trust: Pick<TrustBundle, 'trustsRoot'>;
  /** DNS names and IP addresses of this server. */
  readonly hosts: readonly string[];
  readonly registry: Pick<Registry, 'admitEnrollment' | 'commitEnrollment'>;
  readonly randomBytes: RandomBytes;
  readonly log: Logger;
}

export interface EnrollmentRequest {
  readonly credential: EnrollmentCredential;
  readonly csrDer: Buffer;
  /** Address of the client. */
  readonly address: string;
}

export type EnrollmentResult =
  | { readonly ok: true; readonly certificate: CertificateRecord; readonly device: DeviceRecord }
  | { readonly ok: false; readonly problem: Problem };

/** The public problem codes. Five reasons for a rejected token have the same code, so that a client cannot tell them apart. */
const REFUSALS: Readonly<Record<EnrollmentRefusal, ProblemCode>> = {
  unknown_token: 'token_rejected',
  wrong_secret: 'token_rejected',
  expired: 'token_rejected',
  spent: 'token_rejected',
  void: 'token_rejected',
  device_id_not_allowed: 'device_id_not_allowed',
  device_exists: 'device_exists',
  device_suspended: 'device_suspended',
  device_quarantined: 'device_quarantined',
  group_full: 'group_full',
  key_reused: 'csr_key_reused',
};

/** A generated id collides once in 2^60 / fleet size attempts; several collisions in a row have another cause. */
const ATTEMPTS_MAX = 3;

export async function enrollDevice(request: EnrollmentRequest, deps: EnrollmentDeps): Promise<EnrollmentResult> {
  const { issuer, trust, registry, log } = deps;
  const { credential, address } = request;

  // 1. The token is for this authority.
  const { token } = credential;
  if (!trust.trustsRoot(token.rootSha256)) return refused('token_rejected', 'the token pins another root');
  noteForeignHost(token.enrollUrl, deps);

  // 2. The request is sound and its key may be certified.
  const verdict = checkCsr(request.csrDer);
  if (!verdict.ok) return refused(verdict.code, verdict.reason);
  const { csr } = verdict;
  if (issuer.ownsKey(csr.publicKeySha256)) return refused('csr_key_reused', 'found the key of a CA of this fleet');

  // 3. The registry admits it, or returns the certificate that the same token and key have received before.
  const claim = {
    tokenId: token.id,
    secret: token.secret,
    deviceId: credential.deviceId,
    publicKeySha256: csr.publicKeySha256,
  };
  const admission = await registry.admitEnrollment(claim);
  if (admission.outcome === 'refused') return refused(REFUSALS[admission.refusal], admission.refusal);
  if (admission.outcome === 'replayed') return succeeded(admission);

  // 4. The names in the request agree with the id that was decided, and the key with the group's profile.
  const decided = admission.deviceId;
  const identity = decided === undefined ? undefined : ({ kind: 'device', id: decided } as const);
  const mismatch = identityMismatch(csr, issuer.trustDomain, identity);
  if (mismatch !== undefined) return refused('csr_identity_mismatch', mismatch);

  const unfit = keyNotAllowed(csr.keyAlgorithm, admission.profile);
  if (unfit !== undefined) return refused('csr_key_not_allowed', unfit);

  for (let attempt = 1; ; attempt += 1) {
    // 5. A device without an id gets a generated one.
    const deviceId = decided ?? generateDeviceId(deps.randomBytes);

    // 6. The certificate is issued, and checked by an independent parser.
    const certificate = await issuer.issue({ kind: 'device', id: deviceId }, csr.publicKeySpki, admission.profile);

    // 7. One transaction consumes the token and records device, certificate and audit entry. Then the device gets it.
    const outcome = await registry.commitEnrollment({ ...claim, deviceId, certificate, address });
    if (outcome.outcome !== 'refused') return succeeded(outcome);
    const isCollision = decided === undefined && outcome.refusal === 'device_exists' && attempt < ATTEMPTS_MAX;
    if (!isCollision) return refused(REFUSALS[outcome.refusal], outcome.refusal);
  }

  function succeeded(outcome: {
    readonly outcome: 'enrolled' | 'replayed';
    readonly device: DeviceRecord;
    readonly certificate: CertificateRecord;
  }): EnrollmentResult {
    const { device, certificate } = outcome;
    const fields = { device: device.id, serial: certificate.serial, tokenId: token.id, address };
    log.info(fields, outcome.outcome === 'enrolled' ? 'device enrolled' : 'enrollment repeated');
    return { ok: true, device, certificate };
  }

  function refused(code: ProblemCode, reason: string): EnrollmentResult {
    return { ok: false, problem: new Problem(code, { reason }) };
  }
}

/** Lower-case base32 (RFC 4648), without the ambiguous 0, 1, 8 and 9. */
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
const GENERATED_LENGTH = 12;

/** `dev-` and 12 characters: 60 random bits. */
export function generateDeviceId(randomBytes: RandomBytes): DeviceId {
  const characters = Array.from(randomBytes(GENERATED_LENGTH), (byte) => BASE32[byte % BASE32.length]);
  return parseDeviceId(`dev-${characters.join('')}`) as DeviceId;
}

/** A token created under another name of this server is as good; but an operator who renamed it wants to know. */
function noteForeignHost(enrollUrl: string, { hosts, log }: EnrollmentDeps): void {
  if (!hosts.some((host) => canonicalHost(host) === urlHost(enrollUrl))) {
    log.info({ enrollUrl, hosts }, 'the token names a host that this server does not have');
  }
}
