import { useSignal } from '@preact/signals';
import { type AnswerOf, api } from '../../api.ts';
import { Badge } from '../../parts/badge.tsx';
import { Copyable } from '../../parts/copyable.tsx';
import { Facts } from '../../parts/facts.tsx';
import { EmptyState, Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Subject } from '../../parts/subject.tsx';
import { Time } from '../../parts/time.tsx';
import { useQueryState } from '../../query-state.ts';
import { useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { shortId } from './ca-words.ts';
import { RevokeCertificate } from './revoke-certificate.tsx';

type Certificate = AnswerOf<'GET /v1/certificates/:serial'>;

/** One certificate by its serial, and its revocation. */
export function FindCertificate() {
  const [serial, setSerial] = useQueryState('serial');
  const text = useSignal(serial);
  const submit = (event: Event) => {
    event.preventDefault();
    setSerial(plainSerial(text.value), true);
  };
  return (
    <>
      <Panel>
        <form class="row" onSubmit={submit}>
          <input
            class="grow"
            aria-label="Serial"
            placeholder="Serial, in hexadecimal; colons may stand between its bytes"
            autocomplete="off"
            spellcheck={false}
            required
            value={text}
            onInput={({ currentTarget }) => {
              text.value = currentTarget.value;
            }}
          />
          <button type="submit">Find</button>
        </form>
      </Panel>
      {serial === '' ? (
        <EmptyState title="Find a certificate by its serial">
          <p>Serials are in logs, on the page of a device, and in the output of openssl x509 -serial.</p>
        </EmptyState>
      ) : (
        <Found key={serial} serial={serial} />
      )}
    </>
  );
}

/** Lower-case digits without colons, spaces, `serial=` and leading zeros. */
function plainSerial(text: string): string {
  return text
    .replace(/^.*=/, '')
    .replaceAll(/[\s:]/g, '')
    .toLowerCase()
    .replace(/^(0x)?0*/, '');
}

const TONES = { good: 'good', expired: 'none', superseded: 'none', revoked: 'bad' } as const;

function Found({ serial }: { readonly serial: string }) {
  const found = useResource((signal) => api('GET /v1/certificates/:serial', { params: { serial }, signal }), serial);
  const isRevoked = useSignal(false);
  const certificate = found.data.value;
  if (found.problem.value !== undefined) return <ProblemNotice problem={found.problem.value} retry={found.reload} />;
  if (certificate === undefined) return <p class="spinner">Loading</p>;
  const mayRevoke = mayAct() && certificate.status !== 'revoked' && !certificate.holder.startsWith('server/');
  return (
    <>
      <Panel
        title="Certificate"
        actions={
          mayRevoke && (
            <button
              type="button"
              class="danger"
              onClick={() => {
                isRevoked.value = true;
              }}
            >
              Revoke this certificate
            </button>
          )
        }
      >
        <Facts facts={factsOf(certificate)} />
        <details>
          <summary>PEM</summary>
          <Copyable text={certificate.pem} label="the certificate" />
        </details>
      </Panel>
      {isRevoked.value && (
        <RevokeCertificate
          certificate={certificate}
          onClose={() => {
            isRevoked.value = false;
          }}
          onDone={() => {
            isRevoked.value = false;
            found.reload();
          }}
        />
      )}
    </>
  );
}

function factsOf(certificate: Certificate) {
  const { serial, holder, status, onHold, issuer, parentSerial, token, operator, address } = certificate;
  const timeOf = (at: string | undefined) => (at === undefined ? undefined : <Time at={at} />);
  return [
    [
      'Holder',
      holder.startsWith('server/') ? `listener ${holder.slice('server/'.length)}` : <Subject subject={holder} />,
    ],
    [
      'Status',
      <span class="row">
        <Badge tone={TONES[status]}>{status}</Badge>
        {onHold && <Badge tone="warn">on hold</Badge>}
      </span>,
    ],
    ['Serial', <span class="mono">{serial}</span>],
    ['Valid from', timeOf(certificate.notBefore)],
    ['Ends', timeOf(certificate.notAfter)],
    ['Issued', timeOf(certificate.issuedAt)],
    ['First used', timeOf(certificate.firstUsedAt)],
    ['Superseded from', timeOf(certificate.supersededAt)],
    [
      'Revoked',
      certificate.revokedAt && (
        <>
          {timeOf(certificate.revokedAt)}, {certificate.revocationReason}
        </>
      ),
    ],
    [
      'Issuing CA',
      issuer && (
        <a href="/certificates?view=ca" class="mono">
          {shortId(issuer)}
        </a>
      ),
    ],
    [
      'Renewed from',
      parentSerial && (
        <a class="mono" href={`/certificates?view=find&serial=${parentSerial}`}>
          {parentSerial}
        </a>
      ),
    ],
    [
      'Token',
      token && (
        <a class="mono" href={`/tokens/${token}`}>
          {token}
        </a>
      ),
    ],
    ['Operator', operator && <Subject subject={operator} />],
    ['Requested from', address && <span class="mono">{address}</span>],
  ] as const;
}
