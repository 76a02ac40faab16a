import { Badge } from '../../parts/badge.tsx';
import { Time } from '../../parts/time.tsx';
import { UntrustedText } from '../../parts/untrusted-text.tsx';
import type { FleetEvent } from '../devices/fleet-event.ts';
import { eventInWords } from './event-words.ts';

/** Events, newest first. Those of the registry come a little later than those of the broker, so their times decide. */
export function Timeline(props: { readonly events: readonly FleetEvent[]; readonly label: string }) {
  return (
    <ol class="timeline" aria-label={props.label}>
      {newestFirst(props.events).map((event, index) => {
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

function newestFirst(events: readonly FleetEvent[]): readonly FleetEvent[] {
  return [...events].reverse().sort((one, other) => (one.time === other.time ? 0 : one.time < other.time ? 1 : -1));
}
