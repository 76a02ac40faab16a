import { type DeviceId, type GroupName, Problem } from '@rollcall/protocol';
import { recordDone } from '../audit/audit.ts';
import type { RegistryDatabase } from '../database.ts';
import { PROFILE_SET } from '../policies/policy-versions.ts';
import type { Actor, ChangeCheck } from '../registry.ts';
import type { Steps, Transaction } from '../transaction.ts';

export const KEY_ALGORITHMS = ['P-256', 'P-384', 'Ed25519', 'RSA'] as const;
export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number];

/** A field that is absent has the default of a group without a profile. */
export interface GroupProfile {
  /** Of a certificate, seconds: 1 hour to 397 days. */
  readonly lifetimeSeconds?: number | undefined;
  /** Key algorithms that are accepted; at least one. */
  readonly keys?: readonly KeyAlgorithm[] | undefined;
  /** Devices that aren't revoked, 1 to 10,000,000. */
  readonly maxDevices?: number | undefined;
  /** The renewal window, as fractions of a certificate's life; 0.1 to 0.9, at least 0.05 apart. */
  readonly renewal?: { readonly from: number; readonly to: number } | undefined;
}

const LIFETIME_BOUNDS = { least: 3600, most: 397 * 24 * 3600 } as const;
export const MAX_GROUP_DEVICES = 10_000_000;

export interface GroupProfileStore {
  /** Undefined when none was set. */
  findProfile(group: GroupName): Promise<GroupProfile | undefined>;
  listProfiles(): Promise<ReadonlyMap<GroupName, GroupProfile>>;
  /** Of the group that the device is in. */
  profileOfDevice(id: DeviceId): Promise<GroupProfile | undefined>;
  /** Replaces the profile; an empty one removes it. Problem `profile_invalid`. */
  setProfile(
    group: GroupName,
    profile: GroupProfile,
    actor: Actor,
    check?: ChangeCheck<GroupProfile | undefined>,
  ): Promise<void>;
}

export function createGroupProfileStore(database: RegistryDatabase): GroupProfileStore {
  return {
    findProfile: async (group) => database.read((tx) => findProfile(tx, group)),
    listProfiles: async () =>
      database.read(function* (tx) {
        return new Map(
          (yield* tx.all<{ name: GroupName; profile: string }>(
            'SELECT group_name AS name, profile FROM group_profiles',
            {},
          )).map(({ name, profile }) => [name, JSON.parse(profile) as GroupProfile]),
        );
      }),
    profileOfDevice: async (id) => database.read((tx) => profileOfDevice(tx, id)),
    setProfile: async (group, profile, actor, check) => setProfile(database, group, profile, actor, check),
  };
}

export function* findProfile(tx: Transaction, group: GroupName): Steps<GroupProfile | undefined> {
  const sql = 'SELECT profile FROM group_profiles WHERE group_name = @group';
  const row = yield* tx.get<{ profile: string }>(sql, { group });
  return row && (JSON.parse(row.profile) as GroupProfile);
}

export function* profileOfDevice(tx: Transaction, id: DeviceId): Steps<GroupProfile | undefined> {
  const row = yield* tx.get<{ profile: string }>(
    `SELECT profile FROM devices JOIN group_profiles USING (group_name) WHERE id = @id AND deleted_at IS NULL`,
    { id },
  );
  return row && (JSON.parse(row.profile) as GroupProfile);
}

/** Whether the group is at its limit. Checked inside the transaction that adds a device. */
export function* isGroupFull(tx: Transaction, group: GroupName): Steps<boolean> {
  const most = (yield* findProfile(tx, group))?.maxDevices;
  if (most === undefined) return false;
  yield* tx.lock('group', [group]);
  const found = yield* tx.get<{ n: number }>(
    `SELECT count(*) AS n FROM (
       SELECT 1 FROM devices WHERE group_name = @group AND revoked_at IS NULL AND deleted_at IS NULL LIMIT @most
     ) AS counted`,
    { group, most },
  );
  return (found?.n ?? 0) >= most;
}

async function setProfile(
  database: RegistryDatabase,
  group: GroupName,
  given: GroupProfile,
  actor: Actor,
  check?: ChangeCheck<GroupProfile | undefined>,
): Promise<void> {
  const profile = checkedProfile(given);
  const text = JSON.stringify(profile);
  await database.write(function* (tx) {
    yield* tx.lock('group', [group]);
    check?.(yield* findProfile(tx, group));
    yield* tx.run(
      `INSERT INTO group_profiles (group_name, profile, set_at, set_by) VALUES (@group, @text, @now, @actor)
       ON CONFLICT (group_name) DO UPDATE SET profile = @text, set_at = @now, set_by = @actor`,
      { group, text, now: tx.now, actor },
    );
    if (text === '{}') yield* tx.run('DELETE FROM group_profiles WHERE group_name = @group', { group });
    recordDone(tx, { actor, action: PROFILE_SET, subject: `group/${group}`, details: { profile: text } });
  });
}

function checkedProfile({ lifetimeSeconds, keys, maxDevices, renewal }: GroupProfile): GroupProfile {
  const isWithin = (value: number, least: number, most: number) => value >= least && value <= most;
  const isWhole = (value: number, least: number, most: number) =>
    Number.isInteger(value) && isWithin(value, least, most);
  if (lifetimeSeconds !== undefined && !isWhole(lifetimeSeconds, LIFETIME_BOUNDS.least, LIFETIME_BOUNDS.most)) {
    throw invalid('expected a lifetime of 1 hour to 397 days');
  }
  if (keys !== undefined && (keys.length === 0 || !keys.every((key) => KEY_ALGORITHMS.includes(key)))) {
    throw invalid(`expected one or more keys of ${KEY_ALGORITHMS.join(', ')}`);
  }
  if (maxDevices !== undefined && !isWhole(maxDevices, 1, MAX_GROUP_DEVICES)) {
    throw invalid(`expected 1 to ${MAX_GROUP_DEVICES} devices`);
  }
  if (renewal !== undefined) {
    const { from, to } = renewal;
    if (!isWithin(from, 0.1, 0.9) || !isWithin(to, 0.1, 0.9) || to - from < 0.05) {
      throw invalid('expected a renewal window from 0.1 to 0.9 of a life, 0.05 wide at least');
    }
  }
  // Always in this order, so that equal profiles have equal text.
  return {
    ...(lifetimeSeconds !== undefined && { lifetimeSeconds }),
    ...(keys !== undefined && { keys: KEY_ALGORITHMS.filter((key) => keys.includes(key)) }),
    ...(maxDevices !== undefined && { maxDevices }),
    ...(renewal !== undefined && { renewal: { from: renewal.from, to: renewal.to } }),
  };
}

function invalid(detail: string): Problem {
  return new Problem('profile_invalid', { detail });
}
