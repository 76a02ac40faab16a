import type { ComponentChildren } from 'preact';

/** Names and values. A value that is undefined is left out. */
export function Facts(props: { readonly facts: readonly (readonly [name: string, value: ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {props.facts
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => [<dt key={`${name}-name`}>{name}</dt>, <dd key={name}>{value}</dd>])}
    </dl>
  );
}
