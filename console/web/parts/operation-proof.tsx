import type { AnswerOf } from '../api.ts';
import { Facts } from './facts.tsx';
import { NodeOutcomes } from './node-outcomes.tsx';
import { Panel } from './panel.tsx';
import { Time } from './time.tsx';

const DONE = {
  revoke: 'revoked',
  suspend: 'suspended',
  resume: 'resumed',
  quarantine: 'quarantined',
  disconnect: 'disconnected',
  delete: 'deleted',
} as const;

/** The proof of a device operation: what the server and its brokers confirmed before it answered. */
export function OperationProof({ answer }: { readonly answer: AnswerOf<'POST /v1/devices/revoke'> }) {
  const { devices, act, revokedAt, lastMessageAt } = answer;
  const count = devices.length === 1 ? '1 device' : `${devices.length.toLocaleString('en')} devices`;
  return (
    <Panel title={`Proof: ${count} ${DONE[act]}`}>
      <Facts
        facts={[
          ['Committed', revokedAt === undefined ? undefined : <Time at={revokedAt} />],
          ['Live sessions closed', answer.sessionsClosed],
          ['Last message read', lastMessageAt === undefined ? undefined : <Time at={lastMessageAt} />],
          ['Confirmed by', <NodeOutcomes nodes={answer.nodes} confirmed={answer.brokersConfirmed} />],
          ['Confirmed after', `${answer.propagationMs.toFixed(1)} ms from the commit`],
          ['In all', `${answer.tookMs.toFixed(1)} ms`],
        ]}
      />
    </Panel>
  );
}
