import { useSignal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';
import { useLocation } from 'preact-iso';
import icon from './icon.svg';
import { GROUP_TITLES, PAGES } from './navigation.ts';
import { announceProblem, Messages } from './parts/messages.tsx';
import { Reauthentication } from './reauthentication.tsx';
import { self, signOut } from './session.ts';

/** The navigation, and beside it the page. */
export function Frame(props: { readonly children: ComponentChildren }) {
  const { path } = useLocation();
  const isOpen = useSignal(false);
  // A new page closes the navigation on a phone.
  useEffect(() => {
    isOpen.value = false;
  }, [path]);
  return (
    <>
      <a class="skip-link button" href="#content">
        Skip to the content
      </a>
      <div class="frame">
        <header class="top-bar">
          <Brand />
          <button
            type="button"
            aria-expanded={isOpen.value}
            aria-controls="navigation"
            onClick={() => {
              isOpen.value = !isOpen.value;
            }}
          >
            Menu
          </button>
        </header>
        <nav id="navigation" class={`navigation ${isOpen.value ? 'is-open' : ''}`} aria-label="Pages">
          <Brand />
          {(['fleet', 'trust', 'server'] as const).map((group) => (
            <div key={group}>
              <h2>{GROUP_TITLES[group]}</h2>
              <ul>
                {PAGES.filter((page) => page.group === group).map((page) => (
                  <li key={page.path}>
                    <a href={page.path} aria-current={isCurrent(page.path, path) ? 'page' : undefined}>
                      {page.title}
                    </a>
                  </li>
                ))}
              </ul>
            </div>
          ))}
          <Account />
        </nav>
        <main id="content" tabIndex={-1}>
          {props.children}
        </main>
      </div>
      <Reauthentication />
      <Messages />
    </>
  );
}

/** Around the pages that are there before the sign-in. */
export function OpenFrame(props: { readonly children: ComponentChildren }) {
  return (
    <>
      <main id="content" class="centred">
        <img class="centred-icon" src={icon} alt="Rollcall" />
        {props.children}
      </main>
      <Reauthentication />
      <Messages />
    </>
  );
}

function isCurrent(entry: string, path: string): boolean {
  return entry === '/' ? path === '/' : path === entry || path.startsWith(`${entry}/`);
}

function Brand() {
  return (
    <a class="brand" href="/">
      <img src={icon} alt="" />
      Rollcall
    </a>
  );
}

function Account() {
  const operator = self.value;
  if (operator === null || operator === undefined) return null;
  const leave = async () => {
    try {
      await signOut();
    } catch (error) {
      announceProblem(error);
    }
  };
  return (
    <div class="account">
      <a class="account-link small" href="/settings">
        <strong class="break">{operator.actor.replace(/^operator\//, '')}</strong>
        <div class="soft">{operator.role}</div>
      </a>
      {operator.session !== undefined && (
        <button type="button" onClick={leave}>
          Sign out
        </button>
      )}
    </div>
  );
}
