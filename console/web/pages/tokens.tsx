import { useSignal } from '@preact/signals';
import { type AnswerOf, api } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { EmptyState, PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Table } from '../parts/table.tsx';
import { Time } from '../parts/time.tsx';
import { UntrustedText } from '../parts/untrusted-text.tsx';
import { useQueryState } from '../query-state.ts';
import { useEvery, useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import '../styles/trust.css';
import { CreateToken } from './tokens/create-token.tsx';
import { CreatedToken } from './tokens/created-token.tsx';
import { Labels, UsesMeter } from './tokens/token-cells.tsx';
import { TOKEN_STATES, type TokenView } from './tokens/token-words.ts';

const SHOWN_FIRST = 100;

export function Tokens() {
  const tokens = useResource((signal) => api('GET /v1/tokens', { signal }), 'tokens');
  useEvery(15_000, tokens.reload);
  const [dialog, setDialog] = useQueryState('dialog');
  const created = useSignal<AnswerOf<'POST /v1/tokens'> | undefined>(undefined);
  const { value } = tokens.data;
  const groups = [...new Set(value?.map(({ group }) => group))].sort();
  return (
    <>
      <PageHead title="Tokens" description="A bootstrap token lets devices enroll, and nothing else.">
        {mayAct() && (
          <button type="button" class="primary" onClick={() => setDialog('create')}>
            Create token
          </button>
        )}
      </PageHead>
      {tokens.problem.value !== undefined && <ProblemNotice problem={tokens.problem.value} retry={tokens.reload} />}
      {value !== undefined && <TokenList tokens={value} />}
      {dialog === 'create' && mayAct() && (
        <CreateToken
          groups={groups}
          onClose={() => setDialog('')}
          onCreated={(answer) => {
            created.value = answer;
            setDialog('');
            tokens.reload();
          }}
        />
      )}
      {created.value !== undefined && (
        <CreatedToken
          created={created.value}
          onClose={() => {
            created.value = undefined;
          }}
        />
      )}
    </>
  );
}

function TokenList({ tokens }: { readonly tokens: readonly TokenView[] }) {
  const [state, setState] = useQueryState('state', 'usable');
  const [text, setText] = useQueryState('q');
  const most = useSignal(SHOWN_FIRST);
  if (tokens.length === 0) {
    return (
      <Panel>
        <EmptyState title="There is no token yet">
          <p>
            Create one, and give its text to a device: by its QR code, by a command on the device, or in an image for
            many devices. Each use of it enrolls one device.
          </p>
        </EmptyState>
      </Panel>
    );
  }
  const matching = tokens.filter((token) => isWithin(token, state, text.toLowerCase())).reverse();
  return (
    <Panel bare>
      <div class="filters">
        <input
          type="search"
          aria-label="Find tokens by id, group, device, label or operator"
          placeholder="Id, group, device, label, operator"
          value={text}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
        <select aria-label="State" value={state} onChange={({ currentTarget }) => setState(currentTarget.value)}>
          <option value="all">All states</option>
          {Object.entries(TOKEN_STATES).map(([id, [name]]) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
        <span class="soft small" role="status">
          {matching.length} of {tokens.length}
        </span>
      </div>
      {matching.length === 0 ? (
        <EmptyState title="No token matches">
          <button type="button" onClick={() => setState('all')}>
            All states
          </button>
        </EmptyState>
      ) : (
        <Table oneLine caption="Tokens" rows={matching.slice(0, most.value)} columns={COLUMNS} keyOf={({ id }) => id} />
      )}
      {matching.length > most.value && (
        <div class="more">
          <button
            type="button"
            onClick={() => {
              most.value += SHOWN_FIRST;
            }}
          >
            {SHOWN_FIRST} more
          </button>
        </div>
      )}
    </Panel>
  );
}

const COLUMNS = [
  {
    title: 'Token',
    cell: ({ id }: TokenView) => (
      <a class="mono" href={`/tokens/${id}`}>
        {id}
      </a>
    ),
  },
  {
    title: 'State',
    cell: ({ state }: TokenView) => <Badge tone={TOKEN_STATES[state][1]}>{TOKEN_STATES[state][0]}</Badge>,
  },
  { title: 'Used', cell: (token: TokenView) => <UsesMeter token={token} /> },
  { title: 'Expires', cell: ({ expiresAt }: TokenView) => <Time at={expiresAt} relative /> },
  { title: 'Group', cell: ({ group }: TokenView) => group },
  {
    title: 'For',
    cell: ({ device, labels }: TokenView) => (
      <>
        {device !== undefined && <UntrustedText text={device} />}
        <Labels labels={labels} />
      </>
    ),
  },
  { title: 'Created', cell: ({ mintedAt }: TokenView) => <Time at={mintedAt} relative /> },
  { title: 'By', cell: ({ mintedBy }: TokenView) => mintedBy.replace(/^operator\//, '') },
] as const;

function isWithin(token: TokenView, state: string, text: string): boolean {
  if (state !== 'all' && token.state !== state) return false;
  const labels = Object.entries(token.labels).map(([name, value]) => `${name}=${value}`);
  const words = [token.id, token.group, token.device ?? '', token.mintedBy, ...labels];
  return text === '' || words.some((word) => word.toLowerCase().includes(text));
}
