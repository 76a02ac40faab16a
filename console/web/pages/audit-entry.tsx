import type { AnswerOf } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { Facts } from '../parts/facts.tsx';
import { Subject } from '../parts/subject.tsx';
import { Time } from '../parts/time.tsx';
import { UntrustedText } from '../parts/untrusted-text.tsx';
import { actionInWords } from './audit-words.ts';

export type AuditEntry = AnswerOf<'GET /v1/audit'>[number];

/** Details that are told apart from those of the action. */
const ORIGIN = new Set(['fromAddress', 'apiKey', 'session', 'signedInBy']);
const NAMES: Readonly<Record<string, string>> = {
  notAfter: 'Valid until',
  parentSerial: 'Renewed from',
  maxUses: 'Uses',
  keyId: 'API key',
  begun: 'Began with entry',
};

/** One line that opens: who, how signed in and from where, and everything that was recorded. */
export function AuditEntryRow(props: {
  readonly entry: AuditEntry;
  readonly isOpen: boolean;
  readonly onToggle: (isOpen: boolean) => void;
}) {
  const { entry } = props;
  return (
    <li>
      <details open={props.isOpen} onToggle={(event) => props.onToggle(event.currentTarget.open)}>
        <summary>
          <span class="entry-time soft">
            <Time at={entry.at} />
          </span>
          <span class="entry-action">
            {actionInWords(entry.action)} {entry.outcome === 'refused' && <Badge tone="bad">refused</Badge>}
          </span>
          <span class="entry-subject">
            <UntrustedText text={entry.subject} max={128} />
          </span>
          <span class="entry-actor soft">
            <UntrustedText text={entry.actor} max={128} />
          </span>
        </summary>
        <EntryDetails entry={entry} />
      </details>
    </li>
  );
}

function EntryDetails({ entry }: { readonly entry: AuditEntry }) {
  const { details } = entry;
  return (
    <div class="entry-details">
      <Facts
        facts={[
          ['Who', <Subject subject={entry.actor} />],
          ['Signed in', signedIn(entry)],
          ['From', details.fromAddress === undefined ? undefined : <code>{details.fromAddress}</code>],
          ['Did', <code>{entry.action}</code>],
          ['To', <Subject subject={entry.subject} />],
          ...Object.entries(details)
            .filter(([name]) => !ORIGIN.has(name))
            .map(([name, value]) => [nameOf(name), <Value value={value} />] as const),
          ['Entry', `${entry.id}`],
          ['Hash', <code>{entry.hash}</code>],
        ]}
      />
    </div>
  );
}

function signedIn({ details }: AuditEntry): string | undefined {
  if (details.apiKey !== undefined) return `by the API key ${details.apiKey}`;
  if (details.signedInBy !== undefined) return `by ${details.signedInBy}, session ${details.session ?? 'unknown'}`;
  return undefined;
}

function nameOf(name: string): string {
  if (Object.hasOwn(NAMES, name)) return NAMES[name] as string;
  const words = name.replaceAll(/([A-Z])/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function Value({ value }: { readonly value: string | number }) {
  const text = String(value);
  if (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text)) return <Time at={text} />;
  const shown = <UntrustedText text={indented(text)} max={20_000} />;
  return /^[{[]/.test(text) ? <pre>{shown}</pre> : shown;
}

/** Policies and profiles are JSON. */
function indented(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
