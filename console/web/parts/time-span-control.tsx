import { SPAN_CHOICES, type TimeSpan } from '../time-span.ts';
import { Choice } from './choice.tsx';
import { InlineField } from './inline-field.tsx';

/** Chooses a span that ends now, or two times in the reader's time zone. */
export function TimeSpanControl({ span }: { readonly span: TimeSpan }) {
  return (
    <div class="row">
      <Choice label="Time" value={span.name} options={SPAN_CHOICES} onChoose={span.choose} />
      {span.name === 'range' && (
        <>
          <TimeInput label="From" value={span.from} onChange={span.setFrom} />
          <TimeInput label="To" value={span.to} onChange={span.setTo} />
        </>
      )}
    </div>
  );
}

function TimeInput(props: {
  readonly label: string;
  readonly value: string;
  readonly onChange: (iso: string) => void;
}) {
  return (
    <InlineField label={props.label}>
      {(id) => (
        <input
          id={id}
          type="datetime-local"
          value={localTime(props.value)}
          onChange={({ currentTarget }) => props.onChange(isoOf(currentTarget.value))}
        />
      )}
    </InlineField>
  );
}

function isoOf(text: string): string {
  const at = Date.parse(text);
  return Number.isNaN(at) ? '' : new Date(at).toISOString();
}

/** In the form of a control for local times. */
function localTime(iso: string): string {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return '';
  return new Date(at - new Date(at).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
