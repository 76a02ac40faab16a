import type { ComponentChildren } from 'preact';
import { useEffect } from 'preact/hooks';

/** The heading of a page, its actions at the right, and the title of the window. */
export function PageHead(props: {
  readonly title: string;
  readonly description?: ComponentChildren;
  readonly children?: ComponentChildren;
}) {
  useEffect(() => {
    document.title = `${props.title} · Rollcall`;
  }, [props.title]);
  return (
    <div class="page-head">
      <div>
        <h1 class="break">{props.title}</h1>
        {props.description !== undefined && <p>{props.description}</p>}
      </div>
      <div class="row">{props.children}</div>
    </div>
  );
}

/** A framed part of a page. `bare` leaves out the padding, for tables. */
export function Panel(props: {
  readonly title?: string;
  readonly actions?: ComponentChildren;
  readonly bare?: boolean;
  readonly children: ComponentChildren;
}) {
  return (
    <section class="panel" {...(props.title !== undefined && { 'aria-label': props.title })}>
      {props.title !== undefined && (
        <header>
          <h2>{props.title}</h2>
          <div class="row">{props.actions}</div>
        </header>
      )}
      {props.bare === true ? props.children : <div class="panel-body">{props.children}</div>}
    </section>
  );
}

/** What a place without content says: what it is for, and what to do first. */
export function EmptyState(props: { readonly title: string; readonly children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}
