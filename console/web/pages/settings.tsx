import { PageHead } from '../parts/panel.tsx';
import { Tabs } from '../parts/tabs.tsx';
import { useQueryState } from '../query-state.ts';
import { mayAct } from '../session.ts';
import { Account } from './settings/account.tsx';
import { Appearance } from './settings/appearance.tsx';
import { Keys } from './settings/keys.tsx';
import { Metrics } from './settings/metrics.tsx';
import { Operators } from './settings/operators.tsx';
import { Sessions } from './settings/sessions.tsx';
import './settings/settings.css';

/** The own account, and for admins everyone else's. */
export function Settings() {
  const [tab] = useQueryState('tab', 'account');
  const isAdmin = mayAct('admin');
  return (
    <>
      <PageHead title="Settings" />
      <Tabs
        label="Settings"
        name="tab"
        tabs={[
          ['account', 'Account'],
          ...(isAdmin
            ? ([
                ['operators', 'Operators'],
                ['keys', 'API keys'],
              ] as const)
            : []),
          ['sessions', 'Sessions'],
          ['appearance', 'Appearance'],
          ['metrics', 'Metrics'],
        ]}
      />
      {tab === 'account' && <Account />}
      {tab === 'operators' && (isAdmin ? <Operators /> : <OnlyAdmins />)}
      {tab === 'keys' && (isAdmin ? <Keys /> : <OnlyAdmins />)}
      {tab === 'sessions' && <Sessions />}
      {tab === 'appearance' && <Appearance />}
      {tab === 'metrics' && <Metrics />}
    </>
  );
}

function OnlyAdmins() {
  return <p class="soft">Only an admin sees this.</p>;
}
