import { useSignal } from '@preact/signals';
import { useRoute } from 'preact-iso';
import { type AnswerOf, api } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { Facts } from '../parts/facts.tsx';
import { EmptyState, PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Subject } from '../parts/subject.tsx';
import { Table } from '../parts/table.tsx';
import { Time } from '../parts/time.tsx';
import { Unanswered } from '../parts/unanswered.tsx';
import { UntrustedText } from '../parts/untrusted-text.tsx';
import { useQueryState } from '../query-state.ts';
import { useEvery, useResource } from '../resource.ts';
import { mayAct } from '../session.ts';
import '../styles/trust.css';
import { IssueService } from './services/issue-service.tsx';
import { IssuedCredentials } from './services/issued-credentials.tsx';
import { RevokeService } from './services/revoke-service.tsx';

type ServiceDetail = AnswerOf<'GET /v1/services/:name'>;
type Certificate = ServiceDetail['certificates'][number];
type Session = ServiceDetail['sessions'][number];

const EVERY_MS = 10_000;

/** One service: its certificates, its live sessions, and where its rights come from. */
export function Service() {
  const { name = '' } = useRoute().params;
  const service = useResource((signal) => api('GET /v1/services/:name', { params: { name }, signal }), name);
  useEvery(EVERY_MS, service.reload);
  const [dialog, setDialog] = useQueryState('dialog');
  const issued = useSignal<AnswerOf<'POST /v1/services'> | undefined>(undefined);
  const { value } = service.data;
  const close = () => setDialog('');
  return (
    <>
      <PageHead title={`Service ${name}`} description={<a href="/services">All services</a>}>
        {value !== undefined && mayAct() && (
          <>
            <button type="button" onClick={() => setDialog('issue')}>
              {value.status === 'active' ? 'Issue another certificate' : 'Let it in again'}
            </button>
            {value.status === 'active' && (
              <button type="button" class="danger" onClick={() => setDialog('revoke')}>
                Revoke
              </button>
            )}
          </>
        )}
      </PageHead>
      {service.problem.value !== undefined && <ProblemNotice problem={service.problem.value} retry={service.reload} />}
      {value !== undefined && <Details service={value} />}
      {value !== undefined && dialog === 'issue' && mayAct() && (
        <IssueService
          name={name}
          again={value.status === 'active'}
          onClose={close}
          onIssued={(answer) => {
            issued.value = answer;
            close();
            service.reload();
          }}
        />
      )}
      {value !== undefined && dialog === 'revoke' && mayAct() && (
        <RevokeService
          name={name}
          sessions={value.sessionCount}
          onClose={close}
          onDone={() => {
            close();
            service.reload();
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

function Details({ service }: { readonly service: ServiceDetail }) {
  const { name, status, decidedBy, certificates, sessions, sessionCount, unanswered } = service;
  return (
    <>
      <Panel title="Service">
        <Facts
          facts={[
            ['Status', <Badge tone={status === 'active' ? 'good' : 'bad'}>{status}</Badge>],
            ['First issued', <Time at={service.issuedAt} />],
            ['Certificate ends', service.expiresAt && <Time at={service.expiresAt} />],
            ['Revoked', service.revokedAt && <Time at={service.revokedAt} />],
            ['Policy', <a href={`/policies/service/${encodeURIComponent(name)}`}>{policyText(decidedBy)}</a>],
            ['Audit', <a href={`/audit?subject=${encodeURIComponent(`service/${name}`)}`}>What was done with it</a>],
          ]}
        />
      </Panel>
      <Unanswered nodes={unanswered} />
      <Panel title={`Live sessions: ${sessionCount}`} bare>
        {sessions.length === 0 ? (
          <EmptyState title="It is not connected" />
        ) : (
          <Table
            oneLine
            caption="Live sessions of the service"
            rows={sessions}
            columns={SESSION_COLUMNS}
            keyOf={({ clientId }) => clientId}
          />
        )}
      </Panel>
      <Panel title="Certificates" bare>
        <Table
          oneLine
          caption="Certificates of the service, newest first"
          rows={certificates.toReversed()}
          columns={CERTIFICATE_COLUMNS}
          keyOf={({ serial }) => serial}
        />
      </Panel>
    </>
  );
}

function policyText(decidedBy: string): string {
  return decidedBy === 'built-in' ? 'the built-in policy of services' : `the policy of ${decidedBy}`;
}

const SESSION_COLUMNS = [
  { title: 'Client id', cell: ({ clientId }: Session) => <UntrustedText text={clientId} /> },
  { title: 'Node', cell: ({ node }: Session) => node },
  { title: 'Address', cell: ({ address }: Session) => <span class="mono">{address}</span> },
  { title: 'Connected', cell: ({ connectedAt }: Session) => <Time at={connectedAt} relative /> },
  { title: 'Until at most', cell: ({ notAfter }: Session) => <Time at={notAfter} relative /> },
] as const;

const TONES = { good: 'good', expired: 'none', superseded: 'none', revoked: 'bad' } as const;

const CERTIFICATE_COLUMNS = [
  {
    title: 'Serial',
    cell: ({ serial }: Certificate) => (
      <a class="mono" href={`/certificates?view=find&serial=${serial}`}>
        {serial.slice(0, 16)}…
      </a>
    ),
  },
  { title: 'State', cell: ({ status }: Certificate) => <Badge tone={TONES[status]}>{status}</Badge> },
  { title: 'Ends', cell: ({ notAfter }: Certificate) => <Time at={notAfter} relative /> },
  { title: 'Issued', cell: ({ issuedAt }: Certificate) => <Time at={issuedAt} /> },
  {
    title: 'By',
    cell: ({ operator, parentSerial }: Certificate) =>
      parentSerial === undefined ? operator !== undefined && <Subject subject={operator} /> : 'renewal',
  },
  { title: 'From', cell: ({ address }: Certificate) => <span class="mono">{address}</span> },
] as const;
