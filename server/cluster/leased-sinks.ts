/** Sinks of which one node at a time runs all, with a lease. Their positions move with it. Other nodes know only that they exist. */

import { Problem } from '@rollcall/protocol';
import { CursorRow } from '../../storage/postgres/index.ts';
import { Cursor, openSinks, type Sinks, type SinksOptions, statusElsewhere } from '../../telemetry/index.ts';
import type { Cluster } from './cluster.ts';
import { LeasedPart } from './leased-part.ts';

const SINKS = 'sinks';

/** Opens none yet: the node that gets the lease does. */
export function createLeasedSinks(cluster: Cluster, options: SinksOptions): Sinks {
  const { database, singletons } = cluster;
  const { settings, now, log } = options;
  const since = now();
  const sinks =
    settings.length === 0
      ? undefined
      : new LeasedPart<Sinks>({
          singletons,
          name: SINKS,
          open: (term) =>
            openSinks({
              ...options,
              cursorOf: ({ name, source }) =>
                CursorRow.open({
                  database,
                  name: `sink/${name}/${source}`,
                  parse: (text) => Cursor.parse(text),
                  fence: term.fence.bind(term),
                }),
            }),
          // What another node may deliver as well is not waited for.
          close: (opened, isLost) => (isLost ? opened.close(0) : opened.close()),
          log,
        });
  const here = async (): Promise<Sinks> => {
    const found = sinks?.current;
    if (found !== undefined) return found;
    if (settings.length === 0) throw new Problem('sink_unknown');
    const holder = await cluster.holderOf(SINKS);
    throw new Problem('unavailable', {
      detail: holder === undefined ? 'no node forwards now; try again' : `node ${holder} forwards: ask its console`,
    });
  };
  return {
    get runHere() {
      // A node whose configuration has no sinks forwards nothing: those of the fleet are on another one.
      return sinks?.current !== undefined;
    },
    list: () => sinks?.current?.list() ?? settings.map((one) => statusElsewhere(one, since)),
    replay: async (name, from) => (await here()).replay(name, from),
    skip: async (name) => (await here()).skip(name),
    counters: () => sinks?.current?.counters() ?? {},
    close: async () => sinks?.close(),
  };
}
