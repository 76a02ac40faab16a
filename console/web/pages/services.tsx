import { useSignal } from '@preact/signals';
import { type AnswerOf, api } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { Copyable } from '../parts/copyable.tsx';
import { EmptyState, PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Table } from '../parts/table.tsx';
import { Time } from '../parts/time.tsx';
import { useQueryState } from '../query-state.ts';
import { useEvery, useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import '../styles/trust.css';
import { IssueService } from './services/issue-service.tsx';
import { IssuedCredentials } from './services/issued-credentials.tsx';

type Service = AnswerOf<'GET /v1/services'>[number];

const EVERY_MS = 30_000;

/** Back-end applications with a certificate of their own. */
export function Services() {
  const services = useResource((signal) => api('GET /v1/services', { signal }), 'services');
  useEvery(EVERY_MS, services.reload);
  const [dialog, setDialog] = useQueryState('dialog');
  const issued = useSignal<AnswerOf<'POST /v1/services'> | undefined>(undefined);
  const { value } = services.data;
  return (
    <>
      <PageHead title="Services" description="Back-end applications with a certificate of their own.">
        {mayAct() && (
          <button type="button" class="primary" onClick={() => setDialog('issue')}>
            Issue a certificate
          </button>
        )}
      </PageHead>
      {services.problem.value !== undefined && (
        <ProblemNotice problem={services.problem.value} retry={services.reload} />
      )}
      {value !== undefined && <ServiceList services={value} />}
      {dialog === 'issue' && mayAct() && (
        <IssueService
          onClose={() => setDialog('')}
          onIssued={(answer) => {
            issued.value = answer;
            setDialog('');
            services.reload();
          }}
        />
      )}
      {issued.value !== undefined && (
        <IssuedCredentials
          issued={issued.value}
          onClose={() => {
            issued.value = undefined;
          }}
        />
      )}
    </>
  );
}

function ServiceList({ services }: { readonly services: readonly Service[] }) {
  const [text, setText] = useQueryState('q');
  const [show, setShow] = useQueryState('show', 'active');
  if (services.length === 0) {
    return (
      <Panel>
        <EmptyState title="There is no service yet">
          <p>
            A dashboard or a program that stores telemetry connects with a certificate of its own. On the machine of the
            server, the command line makes the key and the certificate at once:
          </p>
          <Copyable text="rollcall service issue NAME --out NAME" label="the command that issues a service" />
        </EmptyState>
      </Panel>
    );
  }
  const shown = services.filter(
    ({ name, status }) => name.toLowerCase().includes(text.toLowerCase()) && (show === 'all' || status === show),
  );
  return (
    <Panel bare>
      <div class="filters">
        <input
          type="search"
          aria-label="Find by name"
          placeholder="Name"
          value={text}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
        <select aria-label="Status" value={show} onChange={({ currentTarget }) => setShow(currentTarget.value)}>
          <option value="all">All</option>
          <option value="active">active</option>
          <option value="revoked">revoked</option>
        </select>
        <span class="soft small" role="status">
          {shown.length} of {services.length}
        </span>
      </div>
      {shown.length === 0 ? (
        <EmptyState title="No service matches" />
      ) : (
        <Table oneLine caption="Services" rows={shown} columns={COLUMNS} keyOf={({ name }) => name} />
      )}
    </Panel>
  );
}

const COLUMNS = [
  { title: 'Service', cell: ({ name }: Service) => <a href={`/services/${encodeURIComponent(name)}`}>{name}</a> },
  {
    title: 'Status',
    cell: ({ status }: Service) => <Badge tone={status === 'active' ? 'good' : 'bad'}>{status}</Badge>,
  },
  {
    title: 'Certificate ends',
    cell: ({ expiresAt }: Service) => expiresAt !== undefined && <Time at={expiresAt} relative />,
  },
  { title: 'Issued', cell: ({ issuedAt }: Service) => <Time at={issuedAt} relative /> },
  {
    title: 'Revoked',
    cell: ({ revokedAt }: Service) => revokedAt !== undefined && <Time at={revokedAt} relative />,
  },
  {
    title: 'Policy',
    cell: ({ name }: Service) => <a href={`/policies/service/${encodeURIComponent(name)}`}>Policy of {name}</a>,
  },
] as const;
