import { isTerminal, standardOutput } from '@rollcall/output';
import { Command } from 'commander';
import { durationBetween, runWithServer, withServerOptions } from '../command-line.ts';
import { untilStopped } from '../stop-signals.ts';
import { note, printJson, printResult } from '../terminal.ts';
import { LiveScreen } from '../top/live-screen.ts';
import type { ServerSnapshot } from '../top/server-snapshot.ts';
import { snapshotLines } from '../top/snapshot-text.ts';
import { readOnce, type Watcher, watchServer } from '../top/watch-server.ts';

interface TopOptions {
  readonly interval: number;
  readonly once?: true;
}

/** Of a snapshot that is no screen. */
const PRINTED_ROWS = 40;

const top = runWithServer<TopOptions>(async (server, { options, form }) => {
  const { interval, once } = options;
  await untilStopped(async (stopped) => {
    const stop = new AbortController();
    void stopped.then(() => stop.abort());
    const watching = { interval, signal: stop.signal };
    const isLive = form === 'text' && isTerminal(1) && process.env.TERM !== 'dumb';
    if (once) {
      const snapshot = await readOnce(server, watching);
      if (snapshot !== undefined) print(snapshot, form);
    } else if (isLive) {
      const { watcher, close } = screenWatcher(() => stop.abort());
      await watchServer(server, watcher, watching).finally(close);
    } else {
      await watchServer(server, printingWatcher(form), watching);
    }
  });
});

/** Opens the screen with the first snapshot, so that an error before it is printed as any other. */
function screenWatcher(onQuit: () => void): { readonly watcher: Watcher; readonly close: () => void } {
  let newest: ServerSnapshot | undefined;
  let screen: LiveScreen | undefined;
  return {
    watcher: {
      onSnapshot: (snapshot) => {
        newest = snapshot;
        if (screen === undefined) {
          screen = new LiveScreen({ layout: (size) => (newest ? snapshotLines(newest, size) : []), onQuit });
          screen.open();
        }
        screen.draw();
      },
      onAbsence: (reason) => screen?.draw(`away since ${newest?.time.slice(11, 19)}: ${reason}`),
    },
    close: () => screen?.close(),
  };
}

function printingWatcher(form: 'text' | 'json'): Watcher {
  let isAway = false;
  let isFirst = true;
  return {
    onSnapshot: async (snapshot) => {
      if (isAway) note('the server answers again');
      isAway = false;
      if (!isFirst && form === 'text') printResult('');
      isFirst = false;
      print(snapshot, form);
      await standardOutput.drained();
    },
    onAbsence: (reason) => {
      if (!isAway) note(`${reason}; rollcall tries again`);
      isAway = true;
    },
  };
}

function print(snapshot: ServerSnapshot, form: 'text' | 'json'): void {
  if (form === 'json') printJson(snapshot);
  else
    printResult(
      snapshotLines(snapshot, { columns: process.stdout.columns ?? Infinity, rows: PRINTED_ROWS }).join('\n'),
    );
}

export function topCommand(): Command {
  return withServerOptions(
    new Command('top')
      .description('watch a server: sessions, messages, refusals, journal, sinks, expiry, busiest devices')
      .option('--interval <time>', 'read the server this often', durationBetween('1s', '1h'), 1_000)
      .option('--once', 'print one snapshot, after one interval'),
  ).action(top);
}
