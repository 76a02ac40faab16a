import type { ComponentChildren } from 'preact';
import { Facts } from '../../parts/facts.tsx';
import { relativeTime, Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import { countOf } from '../../quantities.ts';
import type { RefusalGroup } from './merge-refusal.ts';
import { devicePathOf } from './refusal-words.ts';

/** Everything that is known about the refusals of one party for one reason, and what mends it. */
export function RefusalDetails({ group }: { readonly group: RefusalGroup }) {
  const { code, detail, remedy, count, isAtLeast, firstAt, lastAt, addresses, topics, token, certificate } = group;
  const device = devicePathOf(group.party);
  return (
    <div class="refusal-details">
      <p class="notice">
        <strong>What mends it</strong>
        <span class="break">
          <UntrustedText text={remedy} />
        </span>
      </p>
      <div class="columns">
        <Facts
          facts={[
            ['Failed check', <code key="code">{code}</code>],
            ['Detail', text(detail)],
            ['Times', `${countOf(count, 'refusal')}${isAtLeast ? ' or more: the server limits such events' : ''}`],
            ['First', <Time key="first" at={firstAt} />],
            ['Last', <Time key="last" at={lastAt} />],
            [addresses.length > 1 ? 'Newest addresses' : 'Address', lines(addresses)],
            [topics.length > 1 ? 'Newest topics' : 'Topic', lines(topics)],
            ['Token', token === undefined ? undefined : <TokenLink token={token} />],
          ]}
        />
        {certificate !== undefined && <Certificate certificate={certificate} at={lastAt} />}
      </div>
      <p class="row">
        {device !== undefined && (
          <a class="button" href={device}>
            Open {group.party.name}
          </a>
        )}
        {device !== undefined && (
          <a href={`/refused?device=${encodeURIComponent(group.party.name)}`}>All of this device</a>
        )}
        {addresses[0] !== undefined && (
          <a href={`/refused?address=${encodeURIComponent(addresses[0])}`}>All from {addresses[0]}</a>
        )}
      </p>
    </div>
  );
}

function Certificate(props: { readonly certificate: NonNullable<RefusalGroup['certificate']>; readonly at: string }) {
  const { subject, issuer, names, serial, fingerprint, notBefore, notAfter } = props.certificate;
  return (
    <div>
      <h3>Certificate that was presented, not confirmed by any check</h3>
      <Facts
        facts={[
          ['Subject', text(subject)],
          ['Issuer', text(issuer)],
          ['Names', text(names)],
          ['Serial', code(serial)],
          ['Valid from', moment(notBefore)],
          ['Valid until', moment(notAfter)],
          ['At the refusal', validityText(notBefore, notAfter, props.at)],
          ['SHA-256', code(fingerprint)],
        ]}
      />
    </div>
  );
}

/** Compared with the clock of the server. */
function validityText(notBefore: string | undefined, notAfter: string | undefined, at: string): string | undefined {
  const [begin, end, now] = [Date.parse(notBefore ?? ''), Date.parse(notAfter ?? ''), Date.parse(at)];
  if (Number.isNaN(begin) || Number.isNaN(end)) return undefined;
  if (now > end) return `it had ended ${relativeTime(end, now)}`;
  return now < begin ? `it begins ${relativeTime(begin, now)}` : 'within its dates';
}

function TokenLink({ token }: { readonly token: string }) {
  return (
    <a href={`/tokens/${encodeURIComponent(token)}`}>
      <code>{token}</code>
    </a>
  );
}

function text(value: string | undefined): ComponentChildren {
  return value === undefined ? undefined : <UntrustedText text={value} max={300} />;
}

function code(value: string | undefined): ComponentChildren {
  return value === undefined ? undefined : <code>{value}</code>;
}

function moment(value: string | undefined): ComponentChildren {
  return value === undefined || Number.isNaN(Date.parse(value)) ? text(value) : <Time at={value} />;
}

function lines(values: readonly string[]): ComponentChildren {
  if (values.length === 0) return undefined;
  return values.map((value) => (
    <div key={value}>
      <UntrustedText text={value} max={300} />
    </div>
  ));
}
