import { Badge } from '../../parts/badge.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import type { FleetEvent } from '../devices/fleet-event.ts';
import { eventInWords } from './event-words.ts';

/** Events, newest first. */
export function Timeline(props: { readonly events: readonly FleetEvent[]; readonly label: string }) {
  return (
    <ol class="timeline" aria-label={props.label}>
      {[...props.events].reverse().map((event, index) => {
        const { title, tone, more } = eventInWords(event);
        return (
          <li key={`${event.time} ${props.events.length - index}`}>
            <span class="soft">
              <Time at={event.time} />
            </span>
            <span>
              <Badge tone={tone}>{title}</Badge>
            </span>
            <span class="break">
              <UntrustedText text={more} max={400} />
            </span>
          </li>
        );
      })}
    </ol>
  );
}
