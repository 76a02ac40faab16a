/** What was done to a device, newest first. */

import { apiPage, nextPage } from '../../api.ts';
import { usePagedList } from '../../paged-list.ts';
import { EmptyState } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { AuditEntries } from '../audit-entries.tsx';
import type { AuditEntry } from '../audit-entry.tsx';

const PAGE = 50;

/** `change`: something that is another one when there are new entries. */
export function AuditTab({ id, change }: { readonly id: string; readonly change: string }) {
  const subject = `device/${id}`;
  const audit = usePagedList<readonly AuditEntry[]>(
    (link, signal) =>
      link === undefined
        ? apiPage('GET /v1/audit', { query: { subject, limit: PAGE }, signal })
        : nextPage('GET /v1/audit', link, signal),
    change,
    (page) => page.length < PAGE,
  );
  const entries = audit.pages.value?.flat();
  if (audit.problem.value !== undefined) return <ProblemNotice problem={audit.problem.value} retry={audit.reload} />;
  if (entries === undefined) return <p class="spinner">Loading</p>;
  if (entries.length === 0) {
    return (
      <EmptyState title="Nothing was done to this device">
        <p>Its enrollment would be the first entry.</p>
      </EmptyState>
    );
  }
  return (
    <AuditEntries
      entries={entries}
      hasOlder={audit.hasMore.value}
      isLoading={audit.isLoading.value}
      onOlder={audit.loadMore}
    />
  );
}
