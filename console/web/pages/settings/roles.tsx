import type { Signal } from '@preact/signals';
import type { AnswerOf } from '../../api.ts';
import { Field } from '../../parts/field.tsx';

export type Role = AnswerOf<'GET /v1/operators'>[number]['role'];

export const ROLE_WORDS: Readonly<Record<Role, string>> = {
  viewer: 'sees everything, changes nothing',
  operator: 'also acts on devices, tokens, services, policies and sinks',
  admin: 'also acts on CAs, operators and the journal',
};

export const ROLES = Object.keys(ROLE_WORDS) as readonly Role[];

export function RoleField(props: { readonly value: Signal<Role>; readonly roles?: readonly Role[] }) {
  const { value, roles = ROLES } = props;
  return (
    <Field label="Role" hint={ROLE_WORDS[value.value]}>
      {(ids) => (
        <select
          {...ids}
          value={value.value}
          onChange={({ currentTarget }) => {
            value.value = currentTarget.value as Role;
          }}
        >
          {roles.map((role) => (
            <option key={role}>{role}</option>
          ))}
        </select>
      )}
    </Field>
  );
}
