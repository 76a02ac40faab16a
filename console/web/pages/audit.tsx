import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { apiPage, nextPage } from '../api.ts';
import { announceProblem } from '../parts/messages.tsx';
import { EmptyState, PageHead } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { useQueryState } from '../query-state.ts';
import { useEvery, useResource } from '../resource.ts';
import { AuditEntries } from './audit-entries.tsx';
import type { AuditEntry } from './audit-entry.tsx';
import { AuditFilter, auditQueryOf, useAuditFilter } from './audit-filter.tsx';
import { AuditVerification } from './audit-verification.tsx';

const PAGE = 100;
const NEW_ENTRIES_EVERY_MS = 5_000;

/** Who did what: every change to the registry, newest first. */
export function Audit() {
  const filter = useAuditFilter();
  const key = JSON.stringify(filter);
  const [verify, setVerify] = useQueryState('verify');
  return (
    <>
      <PageHead
        title="Audit"
        description="Every change to the registry, and who made it. Each entry is hashed over the one before it."
      >
        <button type="button" onClick={() => setVerify(verify === '' ? 'yes' : '')} aria-expanded={verify !== ''}>
          Verify
        </button>
        <a class="button" href="/v1/audit/export" download="audit.ndjson">
          Export
        </a>
      </PageHead>
      {verify !== '' && <AuditVerification />}
      <AuditFilter />
      <Entries key={key} isFiltered={Object.values(filter).some((value) => value !== '')} />
    </>
  );
}

function Entries({ isFiltered }: { readonly isFiltered: boolean }) {
  const filter = useAuditFilter();
  const first = useResource(
    (signal) => apiPage('GET /v1/audit', { query: { ...auditQueryOf(filter, Date.now()), limit: PAGE }, signal }),
    'first',
  );
  const entries = useSignal<readonly AuditEntry[]>([]);
  const older = useSignal<string | undefined>(undefined);
  const isLoadingOlder = useSignal(false);
  const page = first.data.value;
  useEffect(() => {
    if (page === undefined) return;
    const newest = entries.value[0]?.id ?? 0;
    const added = page.value.filter(({ id }) => id > newest);
    // A page of new entries alone may leave out others between them and those that are shown.
    const isGap = added.length === page.value.length;
    if (isGap) older.value = page.value.length < PAGE ? undefined : page.next;
    entries.value = isGap ? added : [...added, ...entries.value];
  }, [page]);
  useEvery(NEW_ENTRIES_EVERY_MS, first.reload);
  const loadOlder = async () => {
    if (older.value === undefined || isLoadingOlder.value) return;
    isLoadingOlder.value = true;
    try {
      const { value, next } = await nextPage('GET /v1/audit', older.value);
      entries.value = [...entries.value, ...value];
      older.value = value.length < PAGE ? undefined : next;
    } catch (error) {
      announceProblem(error);
    } finally {
      isLoadingOlder.value = false;
    }
  };
  if (first.problem.value !== undefined) return <ProblemNotice problem={first.problem.value} retry={first.reload} />;
  if (page === undefined) return <p class="spinner">Loading</p>;
  if (entries.value.length === 0) return <NoEntries isFiltered={isFiltered} />;
  return (
    <AuditEntries
      entries={entries.value}
      hasOlder={older.value !== undefined}
      isLoading={isLoadingOlder.value}
      onOlder={loadOlder}
    />
  );
}

function NoEntries({ isFiltered }: { readonly isFiltered: boolean }) {
  return isFiltered ? (
    <EmptyState title="No entry matches">
      <p>Change the filter, or clear it. Names have to be complete: press-7, not press.</p>
    </EmptyState>
  ) : (
    <EmptyState title="Nothing was changed yet">
      <p>The first bootstrap token that you create is the first entry.</p>
      <a class="button" href="/tokens">
        Create a token
      </a>
    </EmptyState>
  );
}
