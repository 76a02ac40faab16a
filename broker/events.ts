import type { Identity } from '@rollcall/protocol';
import type { PolicyVerb } from './access/acl.ts';

/** Why a live session ended. */
const DISCONNECT_REASONS = [
  'client_disconnected', // it sent DISCONNECT
  'connection_lost', // the network did
  'keepalive_timeout',
  'protocol_violation',
  'limit_exceeded', // too many subscriptions, retained topics, streams or open QoS 2 handshakes
  'acl_denied', // it published where it may not
  'rate_exceeded',
  'slow_consumer', // it did not read what it subscribed to
  'storage_failed', // its message could not be stored, so it was not acknowledged
  'session_taken_over', // the same client id connected again
  'certificate_expired',
  'revoked',
  'suspended',
  'resumed', // from quarantine: it comes back with all that it subscribes to
  'policy_changed', // the new policy, group or label does not let it connect
  'operator',
  'server_shutdown',
  'server_error',
] as const;
export type DisconnectReason = (typeof DISCONNECT_REASONS)[number];

/** Why a connection never became a session. */
const CONNECT_FAILURES = [
  'rate_limited',
  'too_many_handshakes',
  'handshake_failed',
  'connect_timeout',
  'certificate_missing',
  'certificate_untrusted', // OpenSSL refused it; the detail is its error code
  'certificate_expired',
  'certificate_not_yet_valid',
  'issuer_foreign',
  'purpose_wrong', // not a client certificate, or an authority
  'serial_unknown',
  'revoked',
  'superseded', // another certificate took the place of this one
  'suspended',
  'identity_mismatch', // the certificate names another than the registry does
  'registry_failed',
  'policy_failed',
  'protocol_violation',
  'protocol_version',
  'client_id_missing',
  'client_id_not_allowed',
  'will_not_allowed',
  'takeover_limited',
  'too_many_sessions', // of one identity; a service chooses its client ids
  'server_shutdown',
] as const;
export type ConnectFailure = (typeof CONNECT_FAILURES)[number];

/** What can be said about a certificate that was refused. Text is cut to 256 characters, control characters replaced. */
export interface PeerDescription {
  readonly subject?: string;
  readonly serial?: string;
  readonly san?: string;
  /** ISO 8601. */
  readonly notAfter?: string;
  /** SHA-256 of the certificate, upper-case hexadecimal with colons. */
  readonly fingerprint?: string;
}

/** An owner could not have more kept for it. */
export type ShareExceeded =
  | {
      readonly kept: 'retained' | 'queued';
      /** `own`: more than one identity may have. `shared`: more than its share of what is left for all. */
      readonly bound: 'own' | 'shared';
      /** What was refused; and, of a shared bound, what its owner has. */
      readonly bytes: number;
      readonly heldBytes?: number;
    }
  | {
      /** A device named a stream that would be one more than it may have. */
      readonly kept: 'streams';
      readonly bound: 'own';
      readonly stream: string;
      readonly limit: number;
    };

interface SessionFacts {
  readonly identity: Identity;
  /** Number of the connection: what happens in one connection shares it, and a later connection has a greater one. */
  readonly sequence: number;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
}

/** Times are milliseconds since the epoch. */
export type BrokerEvent =
  | (SessionFacts & { readonly type: 'connected'; readonly at: number })
  | (SessionFacts & {
      readonly type: 'disconnected';
      readonly at: number;
      readonly connectedAt: number;
      readonly reason: DisconnectReason;
    })
  | (PeerDescription & {
      readonly type: 'connect_failed';
      readonly at: number;
      readonly address: string;
      readonly reason: ConnectFailure;
      /** OpenSSL's error code, the broken MQTT clause, and the like. */
      readonly detail?: string;
      readonly identity?: Identity;
    })
  | (SessionFacts & {
      readonly type: 'acl_denied';
      readonly at: number;
      readonly verb: PolicyVerb;
      readonly topic: string;
      readonly why: string;
    })
  | {
      readonly type: 'share_exceeded';
      readonly at: number;
      readonly identity: Identity;
      readonly share: ShareExceeded;
    };
