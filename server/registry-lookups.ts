import { DEFAULT_GROUP, type Identity, Problem, parseDeviceId, parseGroupName } from '@rollcall/protocol';
import type { Subject } from '../broker/index.ts';
import type { Registry } from '../registry/index.ts';
/** What the access rules need to know of an identity. Problem `device_unknown` for a device that never was. */
export async function subjectOf(identity: Identity, registry: Registry): Promise<Subject> {
  if (identity.kind === 'service') return { identity, group: DEFAULT_GROUP, labels: {} };
  const device = await registry.findDevice(identity.id);
  if (device === undefined) throw new Problem('device_unknown');
  const { group, labels, status } = device;
  return { identity, group, labels, ...(status === 'quarantined' && { isQuarantined: true }) };
}

const DEVICES_AT_ONCE = 10_000;

/** Who is in a group now. */
export async function devicesOf(name: string, registry: Registry): Promise<readonly string[]> {
  const group = parseGroupName(name);
  const found: string[] = [];
  for (let after = ''; group !== undefined; ) {
    const page = await registry.listDevices({ group, after, limit: DEVICES_AT_ONCE });
    found.push(...page.map(({ id }) => id));
    after = found.at(-1) ?? '';
    if (page.length < DEVICES_AT_ONCE) break;
  }
  return found;
}

/** The group of a device, as it is named in a journal; undefined for one that never was. */
export async function groupOf(name: string, registry: Registry): Promise<string | undefined> {
  const id = parseDeviceId(name);
  return id === undefined ? undefined : (await registry.findDevice(id))?.group;
}
