import { useLocation } from 'preact-iso';
import { PageHead } from '../parts/panel.tsx';
import { Tabs } from '../parts/tabs.tsx';
import { LiveMessages } from './telemetry-views/live-messages.tsx';
import { MessageQuery } from './telemetry-views/message-query.tsx';
import { Sinks } from './telemetry-views/sinks.tsx';
import { Storage } from './telemetry-views/storage.tsx';
import './telemetry-views/telemetry.css';

const VIEWS = [
  ['storage', 'Storage'],
  ['sinks', 'Sinks'],
  ['live', 'Live'],
  ['query', 'Query & export'],
] as const;

/** What devices send: who sends most, what is stored and for how long, where it is forwarded to, and the messages. */
export function Telemetry() {
  const { query } = useLocation();
  return (
    <>
      <PageHead title="Telemetry" />
      <Tabs label="Views of telemetry" name="view" tabs={VIEWS} />
      <View name={query.view ?? 'storage'} />
    </>
  );
}

function View({ name }: { readonly name: string }) {
  if (name === 'sinks') return <Sinks />;
  if (name === 'live') return <LiveMessages />;
  return name === 'query' ? <MessageQuery /> : <Storage />;
}
