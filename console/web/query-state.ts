/** State of a page in the query string, so that a link shows what its sender saw. */

import { useLocation } from 'preact-iso';

/**
 * The parameter, and a function that changes it. An empty text or the fallback removes it from the address. `push` adds an
 * entry to the history; otherwise the current one is replaced.
 */
export function useQueryState(name: string, fallback = ''): readonly [string, (value: string, push?: boolean) => void] {
  const { query, path, route } = useLocation();
  const set = (value: string, push = false) => {
    const search = new URLSearchParams(location.search);
    if (value === '' || value === fallback) search.delete(name);
    else search.set(name, value);
    route(search.size === 0 ? path : `${path}?${search}`, !push);
  };
  return [query[name] ?? fallback, set];
}
