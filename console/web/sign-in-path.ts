/** The page that an operator wanted before the sign-in. */

/** `/sign-in?next=…`; without a parameter for the overview. */
export function signInPath(wanted: string): string {
  return wanted === '/' ? '/sign-in' : `/sign-in?next=${encodeURIComponent(wanted)}`;
}

/** A path of this origin, so that no link to the sign-in page leads to another site afterwards. */
export function nextPath(next: string | undefined): string {
  if (next === undefined || !next.startsWith('/')) return '/';
  try {
    const url = new URL(next, location.origin);
    return url.origin === location.origin ? `${url.pathname}${url.search}` : '/';
  } catch {
    return '/';
  }
}
