/** The events that the broker reports, with the closed lists of reasons for an ended session and a refused connection. */

import type { Identity } from '@rollcall/protocol';
import type { RefusedCertificate } from '../limits/index.ts';
import type { PolicyVerb } from './access/acl.ts';

/** Why a live session ended. */
const DISCONNECT_REASONS = [
  'client_disconnected', // the client sent DISCONNECT
  'connection_lost', // the network connection closed
  'keepalive_timeout',
  'protocol_violation',
  'limit_exceeded', // too many subscriptions, retained topics, streams or open QoS 2 handshakes
  'acl_denied', // it published to a topic that its policy does not allow
  'rate_exceeded',
  'slow_consumer', // it did not read the messages that it subscribed to
  'storage_failed', // its message could not be stored, so it was not acknowledged
  'session_taken_over', // the same client id connected again
  'certificate_expired',
  'revoked',
  'suspended',
  'resumed', // from quarantine: the device then reconnects and subscribes anew
  'quarantined', // the policy of quarantine does not allow it to connect
  'policy_changed', // the new policy, group or label does not allow it to connect
  'operator',
  'server_shutdown',
  'node_drained', // an operator drained the node; other nodes of the server go on
  'server_error',
] as const;
export type DisconnectReason = (typeof DISCONNECT_REASONS)[number];

/** Why a connection never became a session. */
const CONNECT_FAILURES = [
  'rate_limited',
  'too_many_handshakes',
  'proxy_header_missing', // from a network of proxies; the PROXY protocol is required there
  'proxy_header_invalid',
  'handshake_failed',
  'upgrade_refused', // an HTTP request that does not open a WebSocket connection for MQTT
  'connect_timeout',
  'certificate_missing',
  'certificate_untrusted', // OpenSSL refused it; the detail is its error code
  'certificate_expired',
  'certificate_not_yet_valid',
  'issuer_foreign',
  'purpose_wrong', // not a client certificate, or an authority
  'serial_unknown',
  'revoked',
  'superseded', // a renewed certificate has replaced this one
  'suspended',
  'identity_mismatch', // the certificate and the registry name different holders
  'registry_failed',
  'policy_failed',
  'protocol_violation',
  'protocol_version',
  'authentication_method', // MQTT 5; the certificate is the only authentication
  'client_id_missing',
  'client_id_not_allowed',
  'will_not_allowed',
  'takeover_limited',
  'too_many_sessions', // of one identity; a service chooses its client ids
  'server_shutdown',
] as const;
export type ConnectFailure = (typeof CONNECT_FAILURES)[number];

/** An identity would exceed its share of stored messages or its number of streams. */
export type ShareExceeded =
  | {
      readonly kept: 'retained' | 'queued';
      /** `own`: the limit of one identity. `shared`: its share of the space that all identities use. */
      readonly bound: 'own' | 'shared';
      /** Bytes of the refused message; and, for `shared`, bytes that its owner has stored. */
      readonly bytes: number;
      readonly heldBytes?: number;
    }
  | {
      /** A device used a stream beyond its limit. */
      readonly kept: 'streams';
      readonly bound: 'own';
      readonly stream: string;
      readonly limit: number;
    };

interface SessionFacts {
  readonly identity: Identity;
  /** Sequence number of the connection: all its events have the same, and a later connection has a greater one. */
  readonly sequence: number;
  readonly clientId: string;
  readonly address: string;
  readonly serial: string;
}

/** Times are milliseconds since the epoch. */
export type BrokerEvent =
  | (SessionFacts & {
      readonly type: 'connected';
      readonly at: number;
      readonly mqttVersion: '3.1.1' | '5';
      /** As the client stated it: `name/version`. */
      readonly sdkVersion: string | undefined;
    })
  | (SessionFacts & {
      readonly type: 'disconnected';
      readonly at: number;
      readonly connectedAt: number;
      /** When the last packet was read. */
      readonly lastReceivedAt: number;
      readonly reason: DisconnectReason;
    })
  | (RefusedCertificate & {
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
