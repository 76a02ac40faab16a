import { Copyable } from '../../parts/copyable.tsx';
import { Panel } from '../../parts/panel.tsx';

/** How Prometheus reads this server. The key itself is on the machine alone. */
export function Metrics() {
  return (
    <Panel title="Prometheus">
      <p>
        Prometheus reads <code>/metrics</code> here, with the metrics key and nothing else. The key is in{' '}
        <code>metrics.key</code> and the root certificate in <code>trust-bundle.pem</code>, both in the data directory
        of the server. Copy both to where Prometheus can read them.
      </p>
      <Copyable label="the configuration of Prometheus" text={scrapeConfig(location.host)} />
      <p>
        Each of several nodes is read at its own address, never over a load balancer, with an API key of the role viewer
        that all of them accept (docs/metrics.md).
      </p>
      <p class="soft small">A dashboard for Grafana and alert rules come with Rollcall, in deploy/.</p>
    </Panel>
  );
}

function scrapeConfig(host: string): string {
  return `scrape_configs:
  - job_name: rollcall
    scheme: https
    static_configs:
      - targets: ['${host}']
    authorization:
      credentials_file: /etc/prometheus/rollcall-metrics.key
    tls_config:
      ca_file: /etc/prometheus/rollcall-ca.pem`;
}
