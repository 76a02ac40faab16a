/** Reads the configuration again at SIGHUP. One that is not valid changes nothing. Reloads run one after another. */

import { asProblem } from '@rollcall/protocol';
import type { Logger } from 'pino';
import type { Config } from '../server/config/index.ts';
import type { FleetServer } from '../server/index.ts';

export interface ConfigReloadOptions {
  /** Throws Problem `config_invalid`. */
  readonly load: () => Config;
  readonly log: Logger;
}

export interface ReloadTarget {
  readonly server: Pick<FleetServer, 'reload'>;
  /** Called before and after each reload, for the service manager. */
  readonly begins: () => void;
  readonly ends: () => void;
}

export class ConfigReload {
  readonly #options: ConfigReloadOptions;
  #target: ReloadTarget | undefined;
  #last: Promise<void> = Promise.resolve();

  constructor(options: ConfigReloadOptions) {
    this.#options = options;
  }

  /** The server has started; undefined when it is about to stop. */
  target(target: ReloadTarget | undefined): void {
    this.#target = target;
  }

  hangUp(): void {
    const target = this.#target;
    if (target === undefined) {
      this.#options.log.warn({ signal: 'SIGHUP' }, 'ignored; the server is starting or stopping');
      return;
    }
    this.#last = this.#last.then(() => this.#reload(target));
  }

  /** Never rejects. */
  async #reload({ server, begins, ends }: ReloadTarget): Promise<void> {
    const { load, log } = this.#options;
    begins();
    try {
      const { changed, needRestart } = await server.reload(load());
      const fields = { signal: 'SIGHUP', changed, needRestart };
      if (needRestart.length === 0) log.info(fields, 'configuration reloaded');
      else log.warn(fields, 'configuration reloaded; some options need a restart');
    } catch (error) {
      const { code, reason } = asProblem(error);
      log.error({ signal: 'SIGHUP', code, reason }, 'configuration refused; nothing was changed');
    }
    ends();
  }
}
