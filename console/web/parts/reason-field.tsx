import type { Signal } from '@preact/signals';
import type { RequestOf } from '../api.ts';
import { Field } from './field.tsx';

export type Reason = RequestOf<'POST /v1/certificates/:serial/revoke'>['body']['reason'];

/** RFC 5280, section 5.3.1. */
const REASONS: Readonly<Record<Reason, string>> = {
  keyCompromise: 'Key compromise: somebody else may have the key',
  cessationOfOperation: 'Cessation of operation: no longer in use',
  affiliationChanged: 'Affiliation changed: it belongs to others now',
  privilegeWithdrawn: 'Privilege withdrawn',
  superseded: 'Superseded: replaced by another certificate',
  unspecified: 'Unspecified',
};

/** The reason of a revocation, as CRLs and OCSP give it. */
export function ReasonField({ value }: { readonly value: Signal<Reason> }) {
  return (
    <Field label="Reason" hint="In the audit, in CRLs and in OCSP.">
      {(ids) => (
        <select
          {...ids}
          value={value.value}
          onChange={({ currentTarget }) => {
            value.value = currentTarget.value as Reason;
          }}
        >
          {Object.entries(REASONS).map(([name, text]) => (
            <option key={name} value={name}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}
