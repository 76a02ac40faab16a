/** What the actions of the audit are in words, and how people say whom and what they look for. */

/** By the action; others are shown as their name in words. */
const WORDS: Readonly<Record<string, string>> = {
  'ca.activated': 'CA activated',
  'ca.added': 'CA added',
  'ca.retired': 'CA retired',
  'ca.tainted': 'CA tainted',
  'certificate.renewal_forked': 'Certificate renewed twice',
  'certificate.revoked_alone': 'Certificate revoked, device kept',
  'device.command.begun': 'Command begun',
  'device.command.failed': 'Command failed',
  'device.command.sent': 'Command sent',
  'device.enrolled': 'Device enrolled',
  'device.set': 'Group or labels changed',
  'device.twin.begun': 'Desired state: change begun',
  'device.twin.failed': 'Desired state: change failed',
  'device.twin.set': 'Desired state changed',
  'group.profile_set': 'Profile of a group changed',
  'operator.key.created': 'API key created',
  'operator.key.revoked': 'API key revoked',
  'policy.set': 'Policy changed',
  'service.issued': 'Certificate of a service issued',
  'token.minted': 'Bootstrap token created',
  'token.voided': 'Bootstrap token revoked',
};

/** `device.clone_suspected`: "Device clone suspected". */
export function actionInWords(action: string): string {
  if (Object.hasOwn(WORDS, action)) return WORDS[action] as string;
  const text = action.replaceAll(/[._]/g, ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Choices of the filter: kinds of actions, and single ones that are looked for often. */
export const ACTION_CHOICES: readonly (readonly [value: string, title: string])[] = [
  ['device', 'Devices: everything'],
  ['device.enrolled', 'Device enrolled'],
  ['device.revoked', 'Device revoked'],
  ['device.suspended', 'Device suspended'],
  ['device.quarantined', 'Device quarantined'],
  ['device.command', 'Commands to devices'],
  ['certificate', 'Certificates: everything'],
  ['certificate.revoked', 'Certificate revoked'],
  ['token', 'Bootstrap tokens: everything'],
  ['service', 'Services: everything'],
  ['policy', 'Policies: everything'],
  ['group', 'Profiles of groups: everything'],
  ['operator', 'Operators and keys: everything'],
  ['ca', 'CAs: everything'],
  ['renewals', 'Renewals pulled'],
  ['telemetry', 'Telemetry removed'],
  ['sink', 'Sinks: everything'],
];

const ACTORS = new Set(['operator', 'token', 'device', 'service', 'server']);
const SUBJECTS = new Set(['device', 'token', 'operator', 'service', 'group', 'ca', 'telemetry', 'sink', 'server']);

/** `ada` means the operator of that name. */
export function actorOf(text: string): string {
  return text.includes('/') || ACTORS.has(text) ? text : `operator/${text}`;
}

/** `press-7` means the device of that id. */
export function subjectOf(text: string): string {
  return text.includes('/') || SUBJECTS.has(text) ? text : `device/${text}`;
}

const PERIODS_MS = { hour: 3_600_000, day: 86_400_000, week: 7 * 86_400_000, month: 30 * 86_400_000 } as const;
export const PERIOD_CHOICES = [
  ['', 'Any time'],
  ['hour', 'Last hour'],
  ['day', 'Last 24 hours'],
  ['week', 'Last 7 days'],
  ['month', 'Last 30 days'],
  ['range', 'From … to …'],
] as const;

/** The begin of a period that ends now; undefined for another choice. */
export function beginOf(period: string, now: number): string | undefined {
  return Object.hasOwn(PERIODS_MS, period)
    ? new Date(now - PERIODS_MS[period as keyof typeof PERIODS_MS]).toISOString()
    : undefined;
}
