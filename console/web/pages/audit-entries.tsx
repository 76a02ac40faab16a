import { Panel } from '../parts/panel.tsx';
import { useQueryState } from '../query-state.ts';
import { type AuditEntry, AuditEntryRow } from './audit-entry.tsx';
import './audit.css';

/** Entries of the audit, newest first, one of which may be open: its number is in the address. */
export function AuditEntries(props: {
  readonly entries: readonly AuditEntry[];
  readonly hasOlder: boolean;
  readonly isLoading: boolean;
  readonly onOlder: () => void;
}) {
  const [open, setOpen] = useQueryState('entry');
  return (
    <Panel bare>
      <ol class="entries" aria-label="Audit entries, newest first">
        {props.entries.map((entry) => (
          <AuditEntryRow
            key={entry.id}
            entry={entry}
            isOpen={open === String(entry.id)}
            onToggle={(isOpen) => {
              if (isOpen) setOpen(String(entry.id));
              else if (new URLSearchParams(location.search).get('entry') === String(entry.id)) setOpen('');
            }}
          />
        ))}
      </ol>
      {props.hasOlder && (
        <div class="entries-more">
          <button type="button" disabled={props.isLoading} onClick={props.onOlder}>
            Older entries
          </button>
        </div>
      )}
    </Panel>
  );
}
