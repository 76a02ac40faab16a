/** Where the certificates of a device come from: the token and its operator, then each renewal; and the children of a gateway. */

import { Badge, type Tone } from '../../parts/badge.tsx';
import { Facts } from '../../parts/facts.tsx';
import { Panel } from '../../parts/panel.tsx';
import { Subject } from '../../parts/subject.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import type { DeviceDetail } from './device-detail.ts';

type Certificate = DeviceDetail['certificates'][number];

const TONES: Readonly<Record<Certificate['status'], Tone>> = {
  good: 'good',
  expired: 'warn',
  superseded: 'none',
  revoked: 'bad',
};

export function Lineage({ device }: { readonly device: DeviceDetail }) {
  const { token, children } = device;
  const certificates = [...device.certificates].reverse();
  return (
    <>
      <Panel title="Lineage">
        <Facts
          facts={[
            ['Enrolled', <Time at={device.enrolledAt} />],
            ['With', <Subject subject={device.enrolledBy} />],
            ['Token created by', token === undefined ? undefined : <Subject subject={token.createdBy} />],
            ['Token created', token === undefined ? undefined : <Time at={token.createdAt} />],
            ['Gateway', device.labels.gateway === undefined ? undefined : <DeviceLink id={device.labels.gateway} />],
            [
              'Children',
              children.length === 0 ? undefined : (
                <span class="row">
                  {children.map((id) => (
                    <DeviceLink key={id} id={id} />
                  ))}
                  {children.length === 100 && (
                    <a href={`/devices?label=${encodeURIComponent(`gateway=${device.id}`)}`}>all of them</a>
                  )}
                </span>
              ),
            ],
          ]}
        />
      </Panel>
      <Panel title={`Certificates (${certificates.length.toLocaleString('en')})`} bare>
        <Table
          caption="Certificates, newest first"
          rows={certificates.slice(0, 100)}
          keyOf={({ serial }) => serial}
          columns={[
            { title: 'Serial', cell: ({ serial }) => <code title={serial}>{serial.slice(0, 12)}…</code> },
            { title: 'Status', cell: ({ status }) => <Badge tone={TONES[status]}>{status}</Badge> },
            { title: 'Issued', cell: ({ issuedAt }) => <Time at={issuedAt} /> },
            { title: 'Ends', cell: ({ notAfter }) => <Time at={notAfter} /> },
            { title: 'Origin', cell: (certificate) => <Origin certificate={certificate} /> },
            { title: 'Requested from', cell: ({ address }) => <code>{address ?? ''}</code> },
          ]}
        />
      </Panel>
    </>
  );
}

function Origin({ certificate }: { readonly certificate: Certificate }) {
  const { parentSerial, recovered, token } = certificate;
  if (parentSerial !== undefined) {
    return (
      <>
        {recovered ? 'recovered from' : 'renewed from'} <code title={parentSerial}>{parentSerial.slice(0, 8)}…</code>
      </>
    );
  }
  return token === undefined ? <span class="soft">unknown</span> : <Subject subject={`token/${token}`} />;
}

export function DeviceLink({ id }: { readonly id: string }) {
  return <a href={`/devices/${encodeURIComponent(id)}`}>{id}</a>;
}
