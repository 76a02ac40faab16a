/** How a session ended, in a sentence for an operator. */

import type { DisconnectReason } from '../../broker/index.ts';
import type { SERVER_LOST } from '../../registry/index.ts';

const SENTENCES: Readonly<Record<DisconnectReason | typeof SERVER_LOST, string>> = {
  client_disconnected: 'the device disconnected',
  connection_lost: 'the network connection was lost',
  keepalive_timeout: 'no packet came within the keep-alive',
  protocol_violation: 'a packet was not valid MQTT',
  limit_exceeded: 'a limit was exceeded',
  acl_denied: 'it published to a topic that its policy does not allow',
  rate_exceeded: 'messages came faster than allowed for too long',
  slow_consumer: 'it did not read its messages in time',
  storage_failed: 'a message could not be stored',
  session_taken_over: 'the same client id connected again',
  certificate_expired: 'its certificate ended',
  revoked: 'it was revoked',
  suspended: 'an operator suspended it',
  resumed: 'an operator ended its quarantine',
  quarantined: 'it may not connect in quarantine',
  policy_changed: 'a new policy, group or label does not allow the connection',
  operator: 'an operator disconnected it',
  server_shutdown: 'the server stopped',
  node_drained: 'an operator drained its node of the server',
  server_error: 'the server could not process a packet',
  server_lost: 'the server ended without recording how',
};

/** The reason itself when a newer server has another one. */
export function disconnectSentence(reason: string): string {
  return Object.hasOwn(SENTENCES, reason) ? SENTENCES[reason as keyof typeof SENTENCES] : reason;
}
