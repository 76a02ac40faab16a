import { UntrustedText } from './untrusted-text.tsx';

/** Where the page of a subject is: `device/press-7`, `token/9f…`, `operator/ada`. */
const PLACES: Readonly<Record<string, (name: string) => string>> = {
  device: (name) => `/devices/${encodeURIComponent(name)}`,
  token: (name) => `/tokens/${encodeURIComponent(name)}`,
  service: (name) => `/services/${encodeURIComponent(name)}`,
  group: (name) => `/devices?group=${encodeURIComponent(name)}`,
  operator: (name) => `/settings?tab=operators&operator=${encodeURIComponent(name)}`,
  ca: () => '/certificates',
  telemetry: () => '/telemetry',
  sink: () => '/telemetry?view=sinks',
};

/** Actors that are no person or program with a page of its own. */
const BUILT_IN: Readonly<Record<string, string>> = {
  'operator/unix': 'the machine, by the operator socket',
  'operator/key': 'the operator key',
};

/** Who or what an entry of the audit is about, as a link where it has a page. */
export function Subject(props: { readonly subject: string }) {
  const { subject } = props;
  const slash = subject.indexOf('/');
  const kind = subject.slice(0, slash);
  const name = subject.slice(slash + 1);
  const builtIn = BUILT_IN[subject];
  if (builtIn !== undefined) return <span class="break">{builtIn}</span>;
  const text = (
    <span class="break">
      <span class="soft">{kind} </span>
      <UntrustedText text={name} max={128} />
    </span>
  );
  const place = Object.hasOwn(PLACES, kind) && name !== '*' ? PLACES[kind] : undefined;
  return place === undefined ? text : <a href={place(name)}>{text}</a>;
}
