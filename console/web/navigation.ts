/** The pages and their addresses. The console serves the document at each of these paths, and nothing else under `/`. */

export interface PageEntry {
  /** `/devices`; further segments belong to the same entry. */
  readonly path: string;
  readonly title: string;
  readonly group: 'fleet' | 'trust' | 'server' | 'none';
}

export const PAGES = [
  { path: '/', title: 'Overview', group: 'fleet' },
  { path: '/devices', title: 'Devices', group: 'fleet' },
  { path: '/refused', title: 'Refused', group: 'fleet' },
  { path: '/telemetry', title: 'Telemetry', group: 'fleet' },
  { path: '/tokens', title: 'Tokens', group: 'trust' },
  { path: '/certificates', title: 'Certificates & CA', group: 'trust' },
  { path: '/services', title: 'Services', group: 'trust' },
  { path: '/policies', title: 'Policies', group: 'trust' },
  { path: '/audit', title: 'Audit', group: 'server' },
  { path: '/simulations', title: 'Simulations', group: 'server' },
  { path: '/settings', title: 'Settings', group: 'server' },
  { path: '/sign-in', title: 'Sign in', group: 'none' },
  { path: '/set-up', title: 'Set up', group: 'none' },
] as const satisfies readonly PageEntry[];

export const GROUP_TITLES = { fleet: 'Fleet', trust: 'Trust', server: 'Server' } as const;
