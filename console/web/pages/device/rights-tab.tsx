/** What a device may do: the policy that applies to it, each rule in words, and an answer for any topic. */

import { api } from '../../api.ts';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { useResource } from '../../resource.ts';
import '../../styles/trust.css';
import { ExplainTopic } from '../policies/explain-topic.tsx';
import { parseScope, policyPath, scopeInWords } from '../policies/policy-document.ts';
import { Rules } from '../policies/rules.tsx';
import type { DeviceDetail } from './device-detail.ts';

export function RightsTab({ device }: { readonly device: DeviceDetail }) {
  const { id, group, status } = device;
  const scope = status === 'quarantined' ? parseScope('quarantine/*') : parseScope(`group/${group}`);
  const policy = useResource(
    (signal) => api('GET /v1/policies/:kind/:name', { params: scope, signal }),
    `${scope.kind} ${scope.name}`,
  );
  const { value } = policy.data;
  return (
    <>
      {(status === 'revoked' || status === 'suspended') && (
        <p class="notice warn">The device is {status}: it may not connect, whatever its policy says.</p>
      )}
      <ExplainTopic identity={`device/${id}`} />
      {policy.problem.value !== undefined && <ProblemNotice problem={policy.problem.value} retry={policy.reload} />}
      {value !== undefined && (
        <Panel
          title={`Policy of ${scopeInWords(scope)}`}
          actions={
            <a class="button" href={policyPath(scope)}>
              Open the policy
            </a>
          }
        >
          {value.isDefault && (
            <p class="soft">
              None is set: {value.decidedBy === 'built-in' ? 'the built-in one' : value.decidedBy} applies.
            </p>
          )}
          <Rules policy={value.policy} />
        </Panel>
      )}
    </>
  );
}
