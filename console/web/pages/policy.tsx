import { useSignal } from '@preact/signals';
import { useRoute } from 'preact-iso';
import { api, apiPage } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { announce } from '../parts/messages.tsx';
import { PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Tabs } from '../parts/tabs.tsx';
import { useQueryState } from '../query-state.ts';
import { useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import '../styles/trust.css';
import { GroupProfile } from './policies/group-profile.tsx';
import { parseScope, policyPath, type Scope, scopeInWords } from './policies/policy-document.ts';
import { PolicyEditor } from './policies/policy-editor.tsx';
import { PolicyHistory } from './policies/policy-history.tsx';
import { ReviewPolicy } from './policies/review-policy.tsx';
import { Rules } from './policies/rules.tsx';

/** The policy of one scope: its rules, an editor, its versions; and of a group its certificate profile. */
export function Policy() {
  const { kind = '', name = '' } = useRoute().params;
  const scope = { kind, name } as Scope;
  return <PolicyOf key={`${kind}/${name}`} scope={scope} />;
}

function PolicyOf({ scope }: { readonly scope: Scope }) {
  const policy = useResource(
    (signal) => apiPage('GET /v1/policies/:kind/:name', { params: { ...scope }, signal }),
    policyPath(scope),
  );
  const [tab] = useQueryState('tab', 'rules');
  const [edit, setEdit] = useQueryState('edit');
  const isRemoved = useSignal(false);
  const page = policy.data.value;
  const effective = page?.value;
  const isEdited = edit !== '' && mayAct();
  return (
    <>
      <PageHead title={`Policy of ${scopeInWords(scope)}`} description={<a href="/policies">All policies</a>}>
        {effective !== undefined && mayAct() && !isEdited && (
          <>
            {!effective.isDefault && (
              <button
                type="button"
                class="danger"
                onClick={() => {
                  isRemoved.value = true;
                }}
              >
                Remove policy
              </button>
            )}
            <button type="button" class="primary" onClick={() => setEdit('yes')}>
              {effective.isDefault ? 'Give it a policy of its own' : 'Edit'}
            </button>
          </>
        )}
      </PageHead>
      {policy.problem.value !== undefined && <ProblemNotice problem={policy.problem.value} retry={policy.reload} />}
      {effective !== undefined && isEdited && (
        <PolicyEditor
          scope={scope}
          effective={effective}
          etag={page?.etag}
          onCancel={() => setEdit('')}
          onStale={policy.reload}
          onSaved={() => {
            announce('The policy is saved, and applies to live sessions.');
            setEdit('');
            policy.reload();
          }}
        />
      )}
      {effective !== undefined && !isEdited && (
        <>
          <Tabs
            label="Views of the policy"
            name="tab"
            tabs={[
              ['rules', 'Rules'],
              ['history', 'History'],
              ...(scope.kind === 'group' ? ([['profile', 'Certificates']] as const) : []),
            ]}
          />
          {tab === 'rules' && (
            <Panel
              title="Rules"
              actions={
                effective.isDefault ? (
                  <Badge>{effective.decidedBy === 'built-in' ? 'built-in' : 'default'}</Badge>
                ) : (
                  <Badge tone="info">own policy</Badge>
                )
              }
            >
              {effective.isDefault && <Inherited decidedBy={effective.decidedBy} />}
              <Rules policy={effective.policy} />
            </Panel>
          )}
          {tab === 'history' && (
            <PolicyHistory scope={scope} effective={effective} etag={page?.etag} onChanged={policy.reload} />
          )}
          {tab === 'profile' && scope.kind === 'group' && <GroupProfile group={scope.name} />}
        </>
      )}
      {effective !== undefined && isRemoved.value && (
        <ReviewPolicy
          title="Remove the policy"
          action="Remove"
          scope={scope}
          before={effective.policy}
          after={undefined}
          apply={(idempotencyKey) =>
            api('DELETE /v1/policies/:kind/:name', {
              params: { ...scope },
              idempotencyKey,
              ...(page?.etag !== undefined && { ifMatch: page.etag }),
            })
          }
          onStale={policy.reload}
          onClose={() => {
            isRemoved.value = false;
          }}
          onDone={() => {
            isRemoved.value = false;
            announce('The policy is removed; the default applies.');
            policy.reload();
          }}
        />
      )}
    </>
  );
}

function Inherited({ decidedBy }: { readonly decidedBy: string }) {
  if (decidedBy === 'built-in') return <p class="soft">Nothing is set: the built-in policy applies.</p>;
  return (
    <p class="soft">
      Nothing is set here: the policy of <a href={policyPath(parseScope(decidedBy))}>{decidedBy}</a> applies.
    </p>
  );
}
