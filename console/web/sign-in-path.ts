/** The page that an operator wanted before the sign-in. */

/** Sends the browser to the identity provider, which sends it back to the first page. */
export const OIDC_SIGN_IN = '/v1/sign-in/oidc';

const REMEMBERED = 'rollcall-next';

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

/** For a sign-in that leaves this site. */
export function rememberPage(path: string): void {
  sessionStorage.setItem(REMEMBERED, path);
}

/** The page that was remembered, once. */
export function takeRememberedPage(): string | undefined {
  const path = sessionStorage.getItem(REMEMBERED);
  sessionStorage.removeItem(REMEMBERED);
  return path === null ? undefined : nextPath(path);
}
