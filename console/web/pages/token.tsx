import { useSignal } from '@preact/signals';
import { useRoute } from 'preact-iso';
import { type AnswerOf, apiPage, nextPage } from '../api.ts';
import { usePagedList } from '../paged-list.ts';
import { Badge } from '../parts/badge.tsx';
import { Facts } from '../parts/facts.tsx';
import { OperationProof } from '../parts/operation-proof.tsx';
import { EmptyState, PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Table } from '../parts/table.tsx';
import { Tabs } from '../parts/tabs.tsx';
import { Time } from '../parts/time.tsx';
import { UntrustedText } from '../parts/untrusted-text.tsx';
import { useQueryState } from '../query-state.ts';
import { mayAct } from '../session.ts';
import '../styles/trust.css';
import { ActOnIssued } from './tokens/act-on-issued.tsx';
import { RevokeToken } from './tokens/revoke-token.tsx';
import { Labels, UsesMeter } from './tokens/token-cells.tsx';
import { TOKEN_STATES, type TokenView } from './tokens/token-words.ts';

type Issued = AnswerOf<'GET /v1/tokens/:id/blast'>;
type IssuedDevice = Issued['devices'][number];
type Certificate = IssuedDevice['certificates'][number];

const PAGE = 100;

/** One token: who came in by it, and everything that was issued from it. */
export function Token() {
  const { id = '' } = useRoute().params;
  const issued = usePagedList<Issued>(
    (link, signal) =>
      link === undefined
        ? apiPage('GET /v1/tokens/:id/blast', { params: { id }, query: { limit: PAGE }, signal })
        : nextPage('GET /v1/tokens/:id/blast', link, signal),
    id,
    ({ devices }) => devices.length < PAGE,
  );
  const [dialog, setDialog] = useQueryState('dialog');
  const proof = useSignal<AnswerOf<'POST /v1/tokens/:id/blast'> | undefined>(undefined);
  const pages = issued.pages.value;
  const token = pages?.[0]?.token;
  const devices = pages?.flatMap((page) => page.devices) ?? [];
  const close = () => setDialog('');
  return (
    <>
      <PageHead title={`Token ${id}`} description={<a href="/tokens">All tokens</a>}>
        {mayAct() && token !== undefined && (
          <>
            {token.state === 'usable' && (
              <button type="button" onClick={() => setDialog('revoke')}>
                Revoke token
              </button>
            )}
            {devices.some(({ status }) => status !== 'revoked' && status !== 'deleted') && (
              <button type="button" class="danger" onClick={() => setDialog('devices')}>
                Act on its devices
              </button>
            )}
          </>
        )}
      </PageHead>
      {issued.problem.value !== undefined && <ProblemNotice problem={issued.problem.value} retry={issued.reload} />}
      {proof.value !== undefined && <OperationProof answer={proof.value} />}
      {token !== undefined && <TokenFacts token={token} />}
      {token !== undefined && <IssuedPanel token={token} devices={devices} />}
      {issued.hasMore.value && (
        <div class="more">
          <button type="button" disabled={issued.isLoading.value} onClick={issued.loadMore}>
            More devices
          </button>
        </div>
      )}
      {token !== undefined && dialog === 'revoke' && mayAct() && (
        <RevokeToken
          token={token}
          onClose={close}
          onDone={() => {
            close();
            issued.reload();
          }}
        />
      )}
      {token !== undefined && dialog === 'devices' && mayAct() && (
        <ActOnIssued
          token={token}
          onClose={close}
          onDone={(answer) => {
            proof.value = answer;
            close();
            issued.reload();
          }}
        />
      )}
    </>
  );
}

function TokenFacts({ token }: { readonly token: TokenView }) {
  const { state, labels, device, loadTest } = token;
  const [text, tone] = TOKEN_STATES[state];
  const left = token.maxUses - token.uses;
  return (
    <Panel title="Token">
      <Facts
        facts={[
          ['State', <Badge tone={tone}>{text}</Badge>],
          ['Used', <UsesMeter token={token} />],
          ['Left', state === 'usable' ? left.toLocaleString('en') : undefined],
          [state === 'expired' ? 'Expired' : 'Expires', <Time at={token.expiresAt} />],
          ['Group', <a href={`/policies/group/${token.group}`}>{token.group}</a>],
          ['Only for', device === undefined ? undefined : <UntrustedText text={device} />],
          ['Labels', Object.keys(labels).length === 0 ? undefined : <Labels labels={labels} />],
          [
            'Created',
            <>
              <Time at={token.mintedAt} /> by {token.mintedBy.replace(/^operator\//, '')}
            </>,
          ],
          ['Revoked', token.voidedAt === undefined ? undefined : <Time at={token.voidedAt} />],
          [
            'Load test',
            loadTest === undefined ? undefined : `${loadTest.perSecond} a second, from ${loadTest.from.join(', ')}`,
          ],
          ['Audit', <a href={`/audit?subject=${encodeURIComponent(`token/${token.id}`)}`}>What was done with it</a>],
        ]}
      />
    </Panel>
  );
}

function IssuedPanel({ token, devices }: { readonly token: TokenView; readonly devices: readonly IssuedDevice[] }) {
  const [view] = useQueryState('view', 'devices');
  if (devices.length === 0) {
    return (
      <Panel title="Issued from it">
        <EmptyState title="No device has enrolled with it">
          <p>
            {token.state === 'usable'
              ? 'Devices appear here when they do.'
              : 'It cannot be used any more, and nothing was issued from it.'}
          </p>
        </EmptyState>
      </Panel>
    );
  }
  const certificates = devices.flatMap(({ device, certificates }) =>
    certificates.map((certificate) => ({ device, certificate })),
  );
  return (
    <Panel title="Issued from it" bare>
      <Tabs
        label="Issued from it"
        name="view"
        tabs={[
          ['devices', `Devices (${devices.length})`],
          ['certificates', `Certificates (${certificates.length})`],
        ]}
      />
      {view === 'certificates' ? (
        <Table
          oneLine
          caption="Certificates that were issued from the token, directly or by renewal"
          rows={certificates}
          columns={CERTIFICATE_COLUMNS}
          keyOf={({ certificate }) => certificate.serial}
        />
      ) : (
        <Table
          oneLine
          caption="Devices that enrolled with the token"
          rows={devices}
          columns={DEVICE_COLUMNS}
          keyOf={({ device }) => device}
        />
      )}
    </Panel>
  );
}

const DEVICE_TONES = {
  active: 'good',
  suspended: 'warn',
  quarantined: 'warn',
  revoked: 'bad',
  deleted: 'none',
} as const;
const CERTIFICATE_TONES = { good: 'good', expired: 'none', superseded: 'none', revoked: 'bad' } as const;

function DeviceLink({ device }: { readonly device: string }) {
  return (
    <a href={`/devices/${encodeURIComponent(device)}`}>
      <UntrustedText text={device} />
    </a>
  );
}

const DEVICE_COLUMNS = [
  { title: 'Device', cell: ({ device }: IssuedDevice) => <DeviceLink device={device} /> },
  { title: 'State', cell: ({ status }: IssuedDevice) => <Badge tone={DEVICE_TONES[status]}>{status}</Badge> },
  {
    title: 'First certificate',
    cell: ({ certificates: [first] }: IssuedDevice) => first !== undefined && <Time at={first.issuedAt} />,
  },
  {
    title: 'From',
    cell: ({ certificates: [first] }: IssuedDevice) => <span class="mono">{first?.address}</span>,
  },
  {
    title: 'Certificates',
    isNumber: true,
    cell: ({ certificates }: IssuedDevice) => certificates.length,
  },
  {
    title: 'Newest ends',
    cell: ({ certificates }: IssuedDevice) => <NewestEnd certificates={certificates} />,
  },
] as const;

function NewestEnd({ certificates }: { readonly certificates: readonly Certificate[] }) {
  const newest = certificates.at(-1);
  if (newest === undefined) return null;
  return newest.status === 'good' ? <Time at={newest.notAfter} relative /> : <span class="soft">{newest.status}</span>;
}

interface IssuedCertificate {
  readonly device: string;
  readonly certificate: Certificate;
}

const CERTIFICATE_COLUMNS = [
  {
    title: 'Serial',
    cell: ({ certificate: { serial } }: IssuedCertificate) => (
      <a class="mono" href={`/certificates?view=find&serial=${serial}`}>
        {serial.slice(0, 16)}…
      </a>
    ),
  },
  { title: 'Device', cell: ({ device }: IssuedCertificate) => <DeviceLink device={device} /> },
  {
    title: 'State',
    cell: ({ certificate: { status } }: IssuedCertificate) => <Badge tone={CERTIFICATE_TONES[status]}>{status}</Badge>,
  },
  { title: 'Issued', cell: ({ certificate }: IssuedCertificate) => <Time at={certificate.issuedAt} /> },
  {
    title: 'By',
    cell: ({ certificate: { recovered, parentSerial } }: IssuedCertificate) =>
      recovered ? 'recovery' : parentSerial === undefined ? 'enrollment' : 'renewal',
  },
  { title: 'From', cell: ({ certificate }: IssuedCertificate) => <span class="mono">{certificate.address}</span> },
  { title: 'Ends', cell: ({ certificate }: IssuedCertificate) => <Time at={certificate.notAfter} /> },
] as const;
