import { useEffect } from 'preact/hooks';
import { ErrorBoundary, LocationProvider, lazy, Route, Router } from 'preact-iso';
import { Frame } from './frame.tsx';
import { EmptyState, PageHead } from './parts/panel.tsx';
import { loadSelf, self } from './session.ts';

const Overview = lazy(() => import('./pages/overview.tsx').then(({ Overview }) => Overview));
const Policies = lazy(() => import('./pages/policies.tsx').then(({ Policies }) => Policies));
const Policy = lazy(() => import('./pages/policy.tsx').then(({ Policy }) => Policy));
const Tokens = lazy(() => import('./pages/tokens.tsx').then(({ Tokens }) => Tokens));
const Token = lazy(() => import('./pages/token.tsx').then(({ Token }) => Token));
const Audit = lazy(() => import('./pages/audit.tsx').then(({ Audit }) => Audit));
const Devices = lazy(() => import('./pages/devices.tsx').then(({ Devices }) => Devices));

export function App() {
  useEffect(() => {
    void loadSelf();
  }, []);
  return (
    <LocationProvider>
      <ErrorBoundary>
        <Frame>{self.value === undefined ? <p class="spinner">Loading</p> : <Pages />}</Frame>
      </ErrorBoundary>
    </LocationProvider>
  );
}

function Pages() {
  return (
    <Router>
      <Route path="/" component={Overview} />
      <Route path="/policies" component={Policies} />
      <Route path="/policies/:kind/:name" component={Policy} />
      <Route path="/tokens" component={Tokens} />
      <Route path="/tokens/:id" component={Token} />
      <Route path="/audit" component={Audit} />
      <Route path="/devices" component={Devices} />
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
