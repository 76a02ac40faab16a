import { useSignal } from '@preact/signals';
import { useAct } from '../../act.ts';
import { type AnswerOf, api, apiPage } from '../../api.ts';
import { Facts } from '../../parts/facts.tsx';
import { announce } from '../../parts/messages.tsx';
import { Panel } from '../../parts/panel.tsx';
import { ProblemNotice } from '../../parts/problem-notice.tsx';
import { Subject } from '../../parts/subject.tsx';
import { Table } from '../../parts/table.tsx';
import { Time } from '../../parts/time.tsx';
import { useResource } from '../../resource.ts';
import { mayAct } from '../../session.ts';
import { ProfileForm } from './profile-form.tsx';

export type Profile = AnswerOf<'GET /v1/groups/:group/profile'>['profile'];
type ProfileVersion = AnswerOf<'GET /v1/groups/:group/profile/versions'>[number];

/** What the certificates of a group are like, the form that changes it, and its earlier versions. */
export function GroupProfile({ group }: { readonly group: string }) {
  const current = useResource(
    (signal) => apiPage('GET /v1/groups/:group/profile', { params: { group }, signal }),
    group,
  );
  const versions = useResource(
    (signal) => api('GET /v1/groups/:group/profile/versions', { params: { group }, signal }),
    group,
  );
  const isEdited = useSignal(false);
  const { problem, isRunning, run } = useAct();
  const page = current.data.value;
  const set = async (profile: Profile) => {
    const done = await run((idempotencyKey) =>
      api('PUT /v1/groups/:group/profile', {
        params: { group },
        body: profile,
        idempotencyKey,
        ...(page?.etag !== undefined && { ifMatch: page.etag }),
      }),
    );
    if (done === undefined) return;
    announce('The profile is saved. It applies from the next certificate on.');
    isEdited.value = false;
    current.reload();
    versions.reload();
  };
  if (current.problem.value !== undefined) {
    return <ProblemNotice problem={current.problem.value} retry={current.reload} />;
  }
  if (page === undefined) return <p class="spinner">Loading</p>;
  const { profile, isSet } = page.value;
  return (
    <>
      <Panel
        title="Certificate profile"
        actions={
          mayAct() &&
          !isEdited.value && (
            <button
              type="button"
              onClick={() => {
                isEdited.value = true;
              }}
            >
              Edit profile
            </button>
          )
        }
      >
        {isEdited.value ? (
          <ProfileForm
            profile={profile}
            isRunning={isRunning.value}
            onSave={set}
            onCancel={() => {
              isEdited.value = false;
            }}
          />
        ) : (
          <>
            {!isSet && <p class="soft">Nothing is set: the defaults of the server apply.</p>}
            <Facts facts={profileFacts(profile)} />
          </>
        )}
        {problem.value !== undefined && <ProblemNotice problem={problem.value} retry={current.reload} />}
      </Panel>
      {(versions.data.value?.length ?? 0) > 0 && (
        <Panel title="Versions of the profile" bare>
          <Table
            oneLine
            caption="Versions of the profile, newest first"
            rows={versions.data.value ?? []}
            keyOf={({ version }) => String(version)}
            columns={[
              { title: 'Version', cell: ({ version }) => version },
              { title: 'When', cell: ({ at }) => <Time at={at} /> },
              { title: 'By', cell: ({ actor }) => <Subject subject={actor} /> },
              { title: 'Profile', cell: profileText },
              {
                title: 'Restore',
                cell: ({ profile: former }: ProfileVersion) =>
                  mayAct() && (
                    <button type="button" disabled={isRunning.value} onClick={() => set(former ?? {})}>
                      Set again
                    </button>
                  ),
              },
            ]}
          />
        </Panel>
      )}
    </>
  );
}

function profileFacts({ lifetimeSeconds, keys, maxDevices, renewal }: Profile) {
  return [
    ['Lifetime', lifetimeSeconds === undefined ? 'default' : durationText(lifetimeSeconds)],
    ['Keys', keys?.join(', ') ?? 'P-256, P-384, RSA'],
    ['Devices at most', maxDevices?.toLocaleString('en') ?? 'any number'],
    [
      'Renewal window',
      renewal === undefined ? '0.6 to 0.8 of the life' : `${renewal.from} to ${renewal.to} of the life`,
    ],
  ] as const;
}

function profileText({ profile }: ProfileVersion): string {
  if (profile === undefined) return 'defaults';
  const { lifetimeSeconds, keys, maxDevices, renewal } = profile;
  const parts = [
    lifetimeSeconds === undefined ? undefined : `lifetime ${durationText(lifetimeSeconds)}`,
    keys === undefined ? undefined : keys.join(', '),
    maxDevices === undefined ? undefined : `${maxDevices.toLocaleString('en')} devices at most`,
    renewal === undefined ? undefined : `renewal ${renewal.from} to ${renewal.to}`,
  ];
  return parts.filter((part) => part !== undefined).join(' · ');
}

function durationText(seconds: number): string {
  const days = seconds / 86_400;
  return days >= 2 ? `${Math.round(days * 10) / 10} days` : `${Math.round(seconds / 360) / 10} hours`;
}
