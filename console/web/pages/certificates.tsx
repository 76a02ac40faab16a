import { PageHead } from '../parts/panel.tsx';
import { Tabs } from '../parts/tabs.tsx';
import { useQueryState } from '../query-state.ts';
import '../styles/trust.css';
import { CaView } from './certificates/ca-view.tsx';
import { ExpiryView } from './certificates/expiry-view.tsx';
import { FindCertificate } from './certificates/find-certificate.tsx';
import { PublishedStatusView } from './certificates/published-status.tsx';

const VIEWS = {
  expiry: ['Expiry', ExpiryView],
  ca: ['CAs and rotation', CaView],
  status: ['CRLs and OCSP', PublishedStatusView],
  find: ['Find one', FindCertificate],
} as const;

/** What expires next, the CAs and their replacement, what third parties get, and single certificates. */
export function Certificates() {
  const [view] = useQueryState('view', 'expiry');
  const [, View] = VIEWS[view as keyof typeof VIEWS] ?? VIEWS.expiry;
  return (
    <>
      <PageHead
        title="Certificates & CA"
        description="What expires next, who signs, and how a CA is replaced while the fleet runs."
      />
      <Tabs
        label="Views of certificates"
        name="view"
        tabs={Object.entries(VIEWS).map(([id, [title]]) => [id, title] as const)}
      />
      <View />
    </>
  );
}
