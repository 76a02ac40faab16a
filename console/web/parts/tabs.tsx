import { useEffect, useRef } from 'preact/hooks';
import { useLocation } from 'preact-iso';

/** Views of one page under the parameter `name`: links, so that each view has an address. The first one is the default. */
export function Tabs(props: {
  readonly label: string;
  readonly name: string;
  readonly tabs: readonly (readonly [id: string, title: string])[];
}) {
  const { path, query } = useLocation();
  const first = props.tabs[0]?.[0] ?? '';
  const current = query[props.name] ?? first;
  const list = useRef<HTMLElement>(null);
  // On a phone the current one may be beyond the edge.
  useEffect(() => {
    list.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [current]);
  return (
    <nav class="tabs" aria-label={props.label} ref={list}>
      {props.tabs.map(([id, title]) => {
        const search = new URLSearchParams(location.search);
        if (id === first) search.delete(props.name);
        else search.set(props.name, id);
        return (
          <a
            key={id}
            href={search.size === 0 ? path : `${path}?${search}`}
            aria-current={id === current ? 'page' : undefined}
          >
            {title}
          </a>
        );
      })}
    </nav>
  );
}
