import { api } from '../api.ts';
import { Badge } from '../parts/badge.tsx';
import { Facts } from '../parts/facts.tsx';
import { PageHead, Panel } from '../parts/panel.tsx';
import { ProblemNotice } from '../parts/problem-notice.tsx';
import { Time } from '../parts/time.tsx';
import { useEvery, useResource } from '../resource.ts';

export function Overview() {
  const health = useResource((signal) => api('GET /v1/health', { signal }), 'health');
  useEvery(5_000, health.reload);
  const { value } = health.data;
  return (
    <>
      <PageHead title="Overview" />
      {health.problem.value !== undefined && <ProblemNotice problem={health.problem.value} retry={health.reload} />}
      {value !== undefined && (
        <Panel title="Server">
          <Facts
            facts={[
              ['State', <Badge tone={value.status === 'ok' ? 'good' : 'warn'}>{value.status}</Badge>],
              ['Version', value.version],
              ['Clock', <Time at={value.time} />],
            ]}
          />
        </Panel>
      )}
    </>
  );
}
