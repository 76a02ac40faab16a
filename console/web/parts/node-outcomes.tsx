import type { AnswerOf } from '../api.ts';
import { Time } from './time.tsx';

type NodeOutcome = AnswerOf<'POST /v1/devices/revoke'>['nodes'][number];

/** How many of the nodes have confirmed a change, and what is known of each other one. */
export function NodeOutcomes(props: { readonly nodes: readonly NodeOutcome[]; readonly confirmed: number }) {
  const { nodes, confirmed } = props;
  const all = Math.max(nodes.length, confirmed);
  const others = nodes.filter(({ state }) => state !== 'confirmed');
  return (
    <>
      {others.length === 0 ? confirmed : `${confirmed} of ${all}`} {all === 1 ? 'broker' : 'brokers'}
      {others.map((node) => (
        <div key={node.name}>
          {node.name} <Unconfirmed node={node} />
        </div>
      ))}
    </>
  );
}

function Unconfirmed({ node }: { readonly node: NodeOutcome }) {
  const { state, deafSince, closedBy } = node;
  if (state === 'deaf' && deafSince !== undefined && closedBy !== undefined) {
    return (
      <>
        is deaf since <Time at={deafSince} />, its sockets are closed by <Time at={closedBy} />
      </>
    );
  }
  if (state === 'closed' && closedBy !== undefined) {
    return (
      <>
        has no connection of before since <Time at={closedBy} />
      </>
    );
  }
  return <>has not confirmed yet</>;
}
