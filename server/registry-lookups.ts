import { DEFAULT_GROUP, type Identity, Problem, parseDeviceId, parseGroupName } from '@rollcall/protocol';
import type { Subject } from '../broker/index.ts';
import type { Registry } from '../registry/index.ts';

/** The subject of access rules. Throws Problem `device_unknown` for a device that never existed. */
export async function subjectOf(identity: Identity, registry: Registry): Promise<Subject> {
  if (identity.kind === 'service') return { identity, group: DEFAULT_GROUP, labels: {} };
  const device = await registry.findDevice(identity.id);
  if (device === undefined) throw new Problem('device_unknown');
  const { group, labels, status } = device;
  return { identity, group, labels, ...(status === 'quarantined' && { isQuarantined: true }) };
}

const PAGE_DEVICES = 10_000;

/** The current members of a group. */
export async function devicesOf(name: string, registry: Registry): Promise<readonly string[]> {
  const group = parseGroupName(name);
  const found: string[] = [];
  for (let after = ''; group !== undefined; ) {
    const page = await registry.listDevices({ group, after, limit: PAGE_DEVICES });
    found.push(...page.map(({ id }) => id));
    after = found.at(-1) ?? '';
    if (page.length < PAGE_DEVICES) break;
  }
  return found;
}

/** The group of a device; undefined for a name that no device ever had. */
export async function groupOf(name: string, registry: Registry): Promise<string | undefined> {
  const id = parseDeviceId(name);
  return id === undefined ? undefined : (await registry.findDevice(id))?.group;
}
