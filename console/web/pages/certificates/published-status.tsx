import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Copyable } from '../../parts/copyable.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { useEvery, useResource } from '../../resource.ts';
import { shortId } from './ca-words.ts';

type Published = AnswerOf<'GET /v1/ca/status'>;
type PublishedCa = Published['cas'][number];

const EVERY_MS = 30_000;

/** The CRLs of the CAs, and who signs OCSP responses. */
export function PublishedStatusView() {
  const status = useResource((signal) => api('GET /v1/ca/status', { signal }), 'status');
  useEvery(EVERY_MS, status.reload);
  const value = status.data.value;
  const ocspUrl = value?.cas.find((ca) => ca.ocspUrl !== undefined)?.ocspUrl;
  return (
    <>
      <p class="soft">
        For third parties that check certificates. Rollcall itself reads its registry on each connection and depends on
        none of this.
      </p>
      {status.problem.value !== undefined && <ProblemNotice problem={status.problem.value} retry={status.reload} />}
      {value !== undefined && (
        <>
          <Panel title="Revocation lists" bare>
            <Table
              oneLine
              caption="Revocation list of each CA"
              rows={value.cas}
              columns={COLUMNS}
              keyOf={({ id }) => id}
            />
          </Panel>
          <Panel title="OCSP">
            {ocspUrl === undefined ? (
              <p class="soft">
                The listener for certificate status is off: set certificateStatus.listen to serve OCSP and CRLs over
                HTTP.
              </p>
            ) : (
              <Copyable text={ocspUrl} label="the address of OCSP" />
            )}
            {ocspUrl !== undefined && <Signers signers={value.ocspSigners} />}
          </Panel>
        </>
      )}
    </>
  );
}

const COLUMNS = [
  {
    title: 'CA',
    cell: ({ id, role }: PublishedCa) => (
      <span title={id}>
        {role} <span class="mono">{shortId(id)}</span>
      </span>
    ),
  },
  {
    title: 'State',
    cell: ({ crl }: PublishedCa) => {
      if (crl === undefined) return <Badge>at the first request</Badge>;
      return Date.parse(crl.nextUpdate) > Date.now() ? (
        <Badge tone="good">valid</Badge>
      ) : (
        <Badge tone="bad">ended</Badge>
      );
    },
  },
  { title: 'Number', isNumber: true, cell: ({ crl }: PublishedCa) => crl?.number },
  { title: 'Entries', isNumber: true, cell: ({ crl }: PublishedCa) => crl?.entries.toLocaleString('en') },
  {
    title: 'Size',
    isNumber: true,
    cell: ({ crl }: PublishedCa) => crl !== undefined && `${crl.bytes.toLocaleString('en')} B`,
  },
  {
    title: 'Delta',
    isNumber: true,
    cell: ({ crl }: PublishedCa) => crl?.delta !== undefined && `${crl.delta.bytes.toLocaleString('en')} B`,
  },
  { title: 'Issued', cell: ({ crl }: PublishedCa) => crl !== undefined && <Time at={crl.issuedAt} relative /> },
  { title: 'Next update', cell: ({ crl }: PublishedCa) => crl !== undefined && <Time at={crl.nextUpdate} relative /> },
  { title: 'Address', cell: ({ crlUrl }: PublishedCa) => <span class="mono">{crlUrl}</span> },
] as const;

function Signers({ signers }: { readonly signers: Published['ocspSigners'] }) {
  if (signers.length === 0) {
    return (
      <EmptyState title="No response was signed yet">
        <p>The certificate of a signer is issued at the first request about its CA, for a day.</p>
      </EmptyState>
    );
  }
  return (
    <ul class="plain-list">
      {signers.map(({ ca, serial, notAfter }) => (
        <li key={serial}>
          Responses about <span class="mono">{shortId(ca)}</span> are signed by{' '}
          <span class="mono">{serial.slice(0, 16)}…</span>, which ends <Time at={notAfter} relative />
        </li>
      ))}
    </ul>
  );
}
