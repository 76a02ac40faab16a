import { useSignal } from '@preact/signals';
import { type AnswerOf, api, apiPage, nextPage } from '../../api.ts';
import { usePagedList } from '../../paged-list.ts';
import { announce } from '../../parts/messages.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Subject } from '../../parts/subject.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { useQueryState } from '../../query-state.ts';
import { mayAct } from '../../session.ts';
import { changesBetween, type EffectivePolicy, type Policy, type Scope } from './policy-document.ts';
import { ReviewPolicy } from './review-policy.tsx';
import { PolicyDiff } from './rules.tsx';

type Versions = AnswerOf<'GET /v1/policies/:kind/:name/versions'>;
type Version = Versions[number];

const PAGE = 50;
const NOW = 'now';

/** The versions of a policy: compared with each other, and restored. */
export function PolicyHistory(props: {
  readonly scope: Scope;
  readonly effective: EffectivePolicy;
  readonly etag: string | undefined;
  readonly onChanged: () => void;
}) {
  const { scope, effective } = props;
  const list = usePagedList<Versions>(
    (link, signal) =>
      link === undefined
        ? apiPage('GET /v1/policies/:kind/:name/versions', { params: { ...scope }, query: { limit: PAGE }, signal })
        : nextPage('GET /v1/policies/:kind/:name/versions', link, signal),
    JSON.stringify([scope, props.etag]),
    (page) => page.length < PAGE,
  );
  const [from, setFrom] = useQueryState('from');
  const [to, setTo] = useQueryState('to', NOW);
  const isRestored = useSignal(false);
  const versions = list.pages.value?.flat();
  if (list.problem.value !== undefined) return <ProblemNotice problem={list.problem.value} retry={list.reload} />;
  if (versions === undefined) return <p class="spinner">Loading</p>;
  if (versions.length === 0) {
    return (
      <Panel>
        <EmptyState title="No policy was ever set here">
          <p>The default has applied from the beginning. Each change from now on is a version.</p>
        </EmptyState>
      </Panel>
    );
  }
  const chosen = versions.find(({ version }) => String(version) === from);
  const compared = versions.find(({ version }) => String(version) === to);
  const target = to === NOW ? effective.policy : compared?.policy;
  return (
    <>
      {chosen !== undefined && (
        <Panel
          title={`Version ${chosen.version} compared`}
          actions={
            mayAct() &&
            chosen !== versions[0] && (
              <button
                type="button"
                class="danger"
                onClick={() => {
                  isRestored.value = true;
                }}
              >
                Roll back to version {chosen.version}
              </button>
            )
          }
        >
          <label class="row">
            Compared with
            <select class="short" value={to} onChange={({ currentTarget }) => setTo(currentTarget.value)}>
              <option value={NOW}>what applies now</option>
              {versions.map(({ version }) => (
                <option key={version} value={String(version)}>
                  version {version}
                </option>
              ))}
            </select>
          </label>
          <Comparison before={chosen.policy} after={target} />
        </Panel>
      )}
      <Panel title="Versions" bare>
        <Table
          oneLine
          caption="Versions of the policy, newest first"
          rows={versions}
          keyOf={({ version }) => String(version)}
          columns={[
            {
              title: 'Version',
              cell: ({ version }) => (
                <button type="button" class="link" onClick={() => setFrom(String(version), true)}>
                  {version}
                </button>
              ),
            },
            { title: 'When', cell: ({ at }) => <Time at={at} /> },
            { title: 'By', cell: ({ actor }) => <Subject subject={actor} /> },
            { title: 'What', cell: (version) => whatOf(version) },
            { title: 'Changes', cell: (version) => changeText(version, versions) },
          ]}
        />
        {list.hasMore.value && (
          <div class="more">
            <button type="button" onClick={list.loadMore}>
              Older versions
            </button>
          </div>
        )}
      </Panel>
      {isRestored.value && chosen !== undefined && (
        <ReviewPolicy
          title={`Roll back to version ${chosen.version}`}
          action="Roll back"
          scope={scope}
          before={effective.policy}
          after={chosen.policy}
          apply={(idempotencyKey) =>
            api('POST /v1/policies/:kind/:name/restore', {
              params: { ...scope },
              body: { version: chosen.version },
              idempotencyKey,
              ...(props.etag !== undefined && { ifMatch: props.etag }),
            })
          }
          onDone={() => {
            isRestored.value = false;
            announce(`Version ${chosen.version} applies again.`);
            setFrom('');
            props.onChanged();
          }}
          onStale={props.onChanged}
          onClose={() => {
            isRestored.value = false;
          }}
        />
      )}
    </>
  );
}

function Comparison(props: { readonly before: Policy | undefined; readonly after: Policy | undefined }) {
  const { before, after } = props;
  if (before === undefined || after === undefined) {
    return <p class="soft">In one of them there is no policy: the default applied.</p>;
  }
  return <PolicyDiff before={before} after={after} />;
}

function whatOf({ policy, restores }: Version): string {
  const what = policy === undefined ? 'removed' : 'set';
  return restores === undefined ? what : `${what}: version ${restores} again`;
}

/** `+2 −1` against the version before it; nothing where that is not loaded or has no policy. */
function changeText(version: Version, versions: readonly Version[]): string {
  const before = versions[versions.indexOf(version) + 1]?.policy;
  if (before === undefined || version.policy === undefined) return '';
  const changes = changesBetween(before, version.policy);
  const added = changes.reduce((sum, change) => sum + change.added.length, 0);
  const removed = changes.reduce((sum, change) => sum + change.removed.length, 0);
  return added + removed === 0 ? 'none' : `+${added} −${removed}`;
}
