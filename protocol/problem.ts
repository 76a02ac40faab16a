/**
 * The closed list of error codes, each with its HTTP status and one constant sentence for clients. The reason is for the
 * log and never leaves the server. Documented in docs/errors.md.
 */

interface ProblemKind {
  readonly status: number;
  /** The text for clients. Constant, so that it contains no secret. */
  readonly sentence: string;
}

export const PROBLEMS = {
  // Enrollment and renewal
  token_rejected: { status: 401, sentence: 'the bootstrap token was not accepted' },
  credentials_missing: { status: 401, sentence: 'expected a bootstrap token as HTTP Basic password or Bearer' },
  certificate_required: { status: 401, sentence: 'expected a client certificate of this fleet' },
  certificate_rejected: { status: 403, sentence: 'the client certificate was not accepted' },
  certificate_expired: {
    status: 403,
    sentence: 'the client certificate has ended; only a new one for the same key may be asked for with it',
  },
  client_cert_header_refused: {
    status: 403,
    sentence: 'the headers Client-Cert and Client-Cert-Chain are accepted from the configured proxies alone',
  },
  client_cert_header_invalid: { status: 400, sentence: 'the header Client-Cert is not the one of RFC 9440' },
  certificate_superseded: { status: 403, sentence: 'another certificate has taken the place of this one' },
  recovery_refused: { status: 403, sentence: 'the client certificate ended too long ago, or was recovered too often' },
  group_full: { status: 409, sentence: 'the group has as many devices as it may' },
  csr_key_not_allowed: { status: 422, sentence: 'the group does not allow this kind of key' },
  csr_malformed: { status: 400, sentence: 'expected one PKCS#10 request, base64 of DER' },
  csr_signature_invalid: { status: 400, sentence: 'the request is not signed by the key it carries' },
  csr_key_unsupported: { status: 422, sentence: 'expected an EC key on P-256 or P-384, or RSA of 2048 to 4096 bits' },
  csr_key_reused: { status: 409, sentence: 'this public key was used before; expected a new key' },
  csr_extension_forbidden: { status: 422, sentence: 'the request asks for rights that a device certificate never has' },
  csr_identity_mismatch: { status: 422, sentence: 'the request names another identity than its credential' },
  device_id_invalid: {
    status: 400,
    sentence: 'expected a device id of one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit',
  },
  device_id_not_allowed: { status: 403, sentence: 'the bootstrap token does not allow this device id' },
  device_exists: {
    status: 409,
    sentence: 'a device or service of this name exists; only a token created for it can enroll it again',
  },
  device_revoked: { status: 403, sentence: 'this device was revoked' },
  device_suspended: { status: 409, sentence: 'this device is suspended' },
  device_quarantined: { status: 409, sentence: 'this device is in quarantine' },
  // Requests to any HTTP server
  body_too_large: { status: 413, sentence: 'the request body is too large' },
  media_type_unsupported: { status: 415, sentence: 'the content type is not one this path reads' },
  method_not_allowed: { status: 405, sentence: 'this path does not answer to this method' },
  not_found: { status: 404, sentence: 'there is nothing at this path' },
  rate_limited: { status: 429, sentence: 'too many requests; try again later' },
  unavailable: { status: 503, sentence: 'the server cannot do this now; try again later' },
  outcome_unknown: {
    status: 503,
    sentence: 'the database did not confirm the change; it may have been made, so look before you repeat it',
  },
  internal: { status: 500, sentence: 'the server failed; the reason is in its log' },
  // Operators
  operator_required: {
    status: 401,
    sentence: 'expected a sign-in, an API key, the operator key or a certificate of an operator',
  },
  role_insufficient: { status: 403, sentence: 'the role of this operator does not include this' },
  operator_unknown: { status: 404, sentence: 'there is no such operator' },
  operator_exists: { status: 409, sentence: 'an operator of this name exists' },
  operator_disabled: { status: 409, sentence: 'this operator is disabled' },
  sign_in_refused: { status: 401, sentence: 'the name, the password or the code is not right' },
  code_required: { status: 401, sentence: 'expected a code of the second factor beside the password' },
  code_refused: { status: 422, sentence: 'the code is not right, or was used before' },
  session_required: { status: 403, sentence: 'this is for operators who signed in; a key is not accepted' },
  session_unknown: { status: 404, sentence: 'there is no such session' },
  cross_site_refused: { status: 403, sentence: 'the request does not come from a page of this console' },
  reauthentication_required: { status: 403, sentence: 'expected a sign-in of the last five minutes' },
  link_invalid: { status: 404, sentence: 'the link was used, replaced or has expired' },
  set_up_done: { status: 409, sentence: 'there is an operator; an admin can make a link for each' },
  password_refused: { status: 422, sentence: 'expected a password of 12 characters or more, at most 1,024 bytes' },
  totp_exists: { status: 409, sentence: 'this operator has a confirmed TOTP secret; remove it first' },
  totp_unknown: { status: 404, sentence: 'there is no TOTP secret that could be confirmed or removed' },
  passkey_exists: { status: 409, sentence: 'this passkey was added before' },
  passkey_unknown: { status: 404, sentence: 'this operator has no such passkey' },
  passkey_refused: { status: 401, sentence: 'the passkey was not accepted' },
  operator_key_unknown: { status: 404, sentence: 'there is no such API key' },
  oidc_refused: { status: 403, sentence: 'the identity provider did not confirm the sign-in' },
  oidc_no_access: { status: 403, sentence: 'this account of the identity provider has no access here' },
  oidc_unavailable: { status: 503, sentence: 'the identity provider cannot be reached now; try again later' },
  scenario_unknown: { status: 404, sentence: 'there is no ready scenario of this name' },
  scenario_not_startable: { status: 409, sentence: 'this scenario is started by the command line only' },
  simulation_running: { status: 409, sentence: 'a simulation runs; only one does at a time' },
  simulation_unknown: { status: 404, sentence: 'there is no such simulation' },
  request_invalid: { status: 400, sentence: 'the request does not have the expected shape' },
  precondition_failed: { status: 412, sentence: 'this was changed since it was read' },
  idempotency_key_reused: { status: 422, sentence: 'this idempotency key was used for another request' },
  idempotency_key_running: { status: 409, sentence: 'a request under this idempotency key is still running' },
  idempotency_answer_lost: {
    status: 409,
    sentence: 'this request was answered before; nothing was done again, and the answer is no longer known',
  },
  idempotency_outcome_unknown: {
    status: 409,
    sentence: 'this request began before, and its end is not known; nothing was done again',
  },
  device_unknown: { status: 404, sentence: 'there is no such device' },
  device_offline: {
    status: 409,
    sentence: 'the device is not connected, and has no session that would store the command',
  },
  command_not_received: {
    status: 409,
    sentence: 'the device does not subscribe to its commands, or its policy does not allow it to receive them',
  },
  command_timed_out: { status: 504, sentence: 'the device did not respond in time' },
  command_failed: { status: 502, sentence: 'the device responded with an error' },
  twin_version_conflict: { status: 409, sentence: 'the desired state has another version' },
  certificate_unknown: { status: 404, sentence: 'no device or service was issued this certificate' },
  certificate_last: { status: 409, sentence: 'its holder has no other valid certificate' },
  selection_empty: { status: 404, sentence: 'the selection matches no device' },
  confirmation_required: {
    status: 409,
    sentence: 'the selection matches more than one device; expected the confirmation of a dry run',
  },
  confirmation_stale: { status: 409, sentence: 'the selected devices are not those of the dry run' },
  service_unknown: { status: 404, sentence: 'there is no such service' },
  service_exists: { status: 409, sentence: 'a device or service of this name exists' },
  token_unknown: { status: 404, sentence: 'there is no such bootstrap token' },
  token_order_invalid: { status: 400, sentence: 'the bootstrap token cannot be created this way' },
  sink_unknown: { status: 404, sentence: 'there is no such sink' },
  policy_invalid: { status: 400, sentence: 'the policy is not one that can be applied' },
  profile_invalid: { status: 400, sentence: 'the profile is not one that can be applied' },
  policy_unknown: { status: 404, sentence: 'no policy was set for this group or service' },
  node_unknown: { status: 404, sentence: 'there is no such node' },
  node_token_unknown: { status: 404, sentence: 'there is no such node token that can be used' },
  node_busy: { status: 409, sentence: 'the node is not serving' },
  node_heard: { status: 409, sentence: 'the node is running: stop it first, or remove it with force' },
  node_not_removable: { status: 409, sentence: 'this node cannot be removed here' },
  database_roles_refused: {
    status: 409,
    sentence: 'the database does not allow this node to make roles for others',
  },
  node_last: { status: 409, sentence: 'no other node is serving: the clients of this one would have none' },
  version_unknown: { status: 404, sentence: 'there is no such version' },
  // Certificate authorities
  ca_unknown: { status: 404, sentence: 'there is no such CA' },
  ca_state_conflict: { status: 409, sentence: 'the CA is not in a state that allows this' },
  ca_would_strand: { status: 409, sentence: 'devices would lose their last valid certificate; renew them first' },
  ca_import_rejected: { status: 422, sentence: 'the certificate is not one that can be imported as issuing CA' },
  ca_key_refused: { status: 403, sentence: 'the key of the CA is not sent to this node' },
  root_key_absent: { status: 409, sentence: 'the root key is not in the data directory' },
  signer_unavailable: { status: 503, sentence: 'the key that signs certificates cannot be reached; try again later' },
  // Simulations on several hosts
  join_secret_wrong: { status: 401, sentence: 'the secret is not that of the run' },
  join_version_mismatch: { status: 409, sentence: 'the hosts of a run have the same version' },
  join_late: { status: 409, sentence: 'the run takes no more hosts' },
  join_twice: { status: 409, sentence: 'a host of this name has joined' },
  coordinator_unproven: {
    status: 403,
    sentence: 'the coordinator is not the one with this fingerprint; nothing was sent',
  },
  coordinator_lost: { status: 503, sentence: 'the coordinator of the run was lost' },
  host_lost: { status: 503, sentence: 'a host of the run was lost' },
  hosts_missing: { status: 504, sentence: 'not all hosts of the run came in time' },
  // Starting the program
  config_invalid: { status: 500, sentence: 'the configuration is not valid' },
  clock_implausible: { status: 500, sentence: 'the clock of this machine cannot be right' },
  data_directory_unusable: { status: 500, sentence: 'the data directory cannot be used' },
  data_directory_busy: { status: 500, sentence: 'another process of Rollcall uses this data directory' },
  database_older: {
    status: 500,
    sentence: 'the database was written by a version of Rollcall before its first release',
  },
  database_newer: { status: 500, sentence: 'the database was written by a newer version of Rollcall' },
  upgrade_blocked: {
    status: 409,
    sentence: 'nodes of an older release are running, which could not use the database after the upgrade',
  },
  database_damaged: { status: 500, sentence: 'the database cannot be read' },
  database_access_refused: { status: 500, sentence: 'the database server refused the access of this server' },
  database_untrusted: { status: 500, sentence: 'the certificate of the database server was not accepted' },
  database_server_unsupported: { status: 500, sentence: 'the database server is none that Rollcall can use' },
  database_settings_refused: {
    status: 500,
    sentence: 'the database server has settings with which a confirmed change could be lost',
  },
  store_in_use: {
    status: 409,
    sentence: 'nodes use the store, or have left something in it that one of them has to finish',
  },
  store_not_empty: { status: 409, sentence: 'the store that a fleet is to move to is not empty' },
  store_moved: { status: 409, sentence: 'the fleet of this store has moved to another one' },
  store_unfinished: { status: 409, sentence: 'a fleet is being moved into this store, and not all of it is there' },
  store_differs: { status: 500, sentence: 'the moved fleet is not the same as the one it was read from' },
  backup_exists: { status: 409, sentence: 'a file of this name exists; a backup overwrites no file' },
  backup_failed: { status: 500, sentence: 'the backup could not be written; no partial file remains' },
  backup_unusable: { status: 422, sentence: 'the backup cannot be used' },
  backup_unauthenticated: { status: 422, sentence: 'the backup is not authenticated as written by its fleet' },
  private_key_exposed: { status: 500, sentence: 'a private key can be read by others than its owner' },
  authority_unusable: { status: 500, sentence: 'the keys and certificates of the authority cannot be used' },
  node_certificate_expired: { status: 500, sentence: 'the certificate of this node has expired' },
  node_exists: { status: 409, sentence: 'another process runs as the node of this name' },
  node_removed: { status: 409, sentence: 'an operator removed the node of this name' },
  node_release_too_far: { status: 409, sentence: 'a node is running whose release this one cannot run beside' },
  node_outdated: { status: 409, sentence: 'a newer node wrote something that this release does not know' },
  database_restored: {
    status: 503,
    sentence:
      'the database lacks what it had confirmed: it went back to an earlier state, and revocations may be missing',
  },
  node_superseded: { status: 503, sentence: 'other nodes have taken over the sessions of this node' },
  address_in_use: { status: 500, sentence: 'the address is in use' },
  output_failed: { status: 500, sentence: 'the output could not be written' },
  server_unreachable: { status: 503, sentence: 'no running Rollcall server was found' },
  usage: { status: 400, sentence: 'the command was not understood' },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;

export interface ProblemOptions {
  /** For the log only: what was expected and what was found. */
  readonly reason?: string;
  /** May be sent to clients: a specific sentence in place of the code's own. Never holds input that was not checked. */
  readonly detail?: string;
  /** What to do about it, shown by the command line after `rollcall: hint:`. */
  readonly hint?: string;
  /** Seconds until a new try makes sense (HTTP Retry-After). */
  readonly retryAfter?: number;
  readonly cause?: unknown;
}

/** The one error type that crosses modules. `message` is for logs; `detail` is for clients. */
export class Problem extends Error {
  override readonly name = 'Problem';
  readonly code: ProblemCode;
  readonly status: number;
  readonly detail: string;
  readonly reason: string | undefined;
  readonly hint: string | undefined;
  readonly retryAfter: number | undefined;

  constructor(code: ProblemCode, options: ProblemOptions = {}) {
    const kind: ProblemKind = PROBLEMS[code];
    const detail = options.detail ?? kind.sentence;
    super(options.reason === undefined ? detail : `${detail}: ${options.reason}`, { cause: options.cause });
    this.code = code;
    this.status = kind.status;
    this.detail = detail;
    this.reason = options.reason;
    this.hint = options.hint;
    this.retryAfter = options.retryAfter;
  }
}

/** `application/problem+json` (RFC 9457), with our code as an extension member. */
export interface ProblemDocument {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ProblemCode;
  readonly detail: string;
  /** Server time, ISO 8601: a device with a wrong clock can learn it from any refusal. */
  readonly time: string;
}

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

export function problemDocument(problem: Problem, now: number): ProblemDocument {
  return {
    type: `urn:rollcall:problem:${problem.code}`,
    title: PROBLEMS[problem.code].sentence,
    status: problem.status,
    code: problem.code,
    detail: problem.detail,
    time: new Date(now).toISOString(),
  };
}

/** Any thrown value as a Problem: what is not one already becomes `internal`, and its message stays in the log. */
export function asProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  return new Problem('internal', { reason: error instanceof Error ? error.message : String(error), cause: error });
}

export function isProblemCode(text: string): text is ProblemCode {
  return Object.hasOwn(PROBLEMS, text);
}
