import { useEffect } from 'preact/hooks';
import { ErrorBoundary, LocationProvider, lazy, Route, Router, useLocation } from 'preact-iso';
import { Frame, OpenFrame } from './frame.tsx';
import { PAGES } from './navigation.ts';
import { EmptyState, PageHead } from './parts/panel.tsx';
import { loadSelf, self } from './session.ts';
import { signInPath, takeRememberedPage } from './sign-in-path.ts';

const Overview = lazy(() => import('./pages/overview.tsx').then(({ Overview }) => Overview));
const Certificates = lazy(() => import('./pages/certificates.tsx').then(({ Certificates }) => Certificates));
const Refused = lazy(() => import('./pages/refused.tsx').then(({ Refused }) => Refused));
const Telemetry = lazy(() => import('./pages/telemetry.tsx').then(({ Telemetry }) => Telemetry));
const Policies = lazy(() => import('./pages/policies.tsx').then(({ Policies }) => Policies));
const Policy = lazy(() => import('./pages/policy.tsx').then(({ Policy }) => Policy));
const Service = lazy(() => import('./pages/service.tsx').then(({ Service }) => Service));
const Services = lazy(() => import('./pages/services.tsx').then(({ Services }) => Services));
const Tokens = lazy(() => import('./pages/tokens.tsx').then(({ Tokens }) => Tokens));
const Token = lazy(() => import('./pages/token.tsx').then(({ Token }) => Token));
const Audit = lazy(() => import('./pages/audit.tsx').then(({ Audit }) => Audit));
const Device = lazy(() => import('./pages/device.tsx').then(({ Device }) => Device));
const Devices = lazy(() => import('./pages/devices.tsx').then(({ Devices }) => Devices));
const Simulations = lazy(() => import('./pages/simulations.tsx').then(({ Simulations }) => Simulations));
const SignIn = lazy(() => import('./pages/sign-in.tsx').then(({ SignIn }) => SignIn));
const SetUp = lazy(() => import('./pages/set-up.tsx').then(({ SetUp }) => SetUp));
const Settings = lazy(() => import('./pages/settings.tsx').then(({ Settings }) => Settings));

const OPEN_PATHS: ReadonlySet<string> = new Set(PAGES.filter(({ group }) => group === 'none').map(({ path }) => path));

export function App() {
  useEffect(() => {
    void loadSelf();
  }, []);
  return (
    <LocationProvider>
      <ErrorBoundary>
        <View />
      </ErrorBoundary>
    </LocationProvider>
  );
}

/** Pages without navigation are those that an operator sees before the sign-in; all others lead there first. */
function View() {
  const { path, url, route } = useLocation();
  const isOpen = OPEN_PATHS.has(path);
  const isSignedOut = self.value === null;
  useEffect(() => {
    if (isSignedOut && !isOpen) route(signInPath(url), true);
  }, [isSignedOut, isOpen, url]);
  const isSignedIn = self.value !== undefined && self.value !== null;
  useEffect(() => {
    if (!isSignedIn) return;
    const remembered = takeRememberedPage();
    if (remembered !== undefined) route(remembered, true);
  }, [isSignedIn]);
  if (isOpen) return <OpenFrame>{self.value === undefined ? <Loading /> : <Pages />}</OpenFrame>;
  if (!isSignedIn) return <Loading />;
  return (
    <Frame>
      <Pages />
    </Frame>
  );
}

function Loading() {
  return <p class="spinner">Loading</p>;
}

function Pages() {
  return (
    <Router>
      <Route path="/" component={Overview} />
      <Route path="/certificates" component={Certificates} />
      <Route path="/refused" component={Refused} />
      <Route path="/telemetry" component={Telemetry} />
      <Route path="/policies" component={Policies} />
      <Route path="/policies/:kind/:name" component={Policy} />
      <Route path="/services" component={Services} />
      <Route path="/services/:name" component={Service} />
      <Route path="/tokens" component={Tokens} />
      <Route path="/tokens/:id" component={Token} />
      <Route path="/audit" component={Audit} />
      <Route path="/devices" component={Devices} />
      <Route path="/simulations" component={Simulations} />
      <Route path="/sign-in" component={SignIn} />
      <Route path="/set-up" component={SetUp} />
      <Route path="/settings" component={Settings} />
      <Route path="/devices/:id" component={Device} />
      <Route default component={NoPage} />
    </Router>
  );
}

function NoPage() {
  return (
    <>
      <PageHead title="No such page" />
      <EmptyState title="There is no page at this address">
        <a href="/">Go to the overview</a>
      </EmptyState>
    </>
  );
}
