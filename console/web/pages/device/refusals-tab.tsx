/** What the server refused to a device in the last seven days, and what mends it. Also of a device that never enrolled. */

import { api } from '../../api.ts';
import { EmptyState } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { useResource } from '../../resource.ts';
import { RefusalGroups } from '../refused/refusal-groups.tsx';
import '../refused/refused.css';
import type { DeviceEvents } from './device-events.ts';

const DAYS = 7;
const REFUSALS: ReadonlySet<string> = new Set([
  'presence.connect_failed',
  'enroll.refused',
  'cert.renewal_refused',
  'security.acl_denied',
]);

export function RefusalsTab({ id, events }: { readonly id: string; readonly events: DeviceEvents }) {
  const newest = events.events.value.filter(({ type }) => REFUSALS.has(type)).at(-1)?.time ?? '';
  const refusals = useResource((signal) => {
    const since = new Date(Date.now() - DAYS * 86_400_000).toISOString();
    return api('GET /v1/refusals', { query: { device: id as never, since }, signal });
  }, newest);
  const list = refusals.data.value;
  if (refusals.problem.value !== undefined) {
    return <ProblemNotice problem={refusals.problem.value} retry={refusals.reload} />;
  }
  if (list === undefined) return <p class="spinner">Loading</p>;
  if (list.groups.length === 0) {
    return (
      <EmptyState title="Nothing was refused in the last seven days">
        <p>A handshake, an enrollment, a renewal or a topic that the server refuses appears here at once.</p>
        <a href={`/refused?device=${encodeURIComponent(id)}`}>Look further back</a>
      </EmptyState>
    );
  }
  return <RefusalGroups list={list} />;
}
