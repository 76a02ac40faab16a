import { Problem } from '@rollcall/protocol';

/** The open parts of a server. `close()` closes them once, in reverse order. */
export class OpenParts {
  readonly #parts: { close(): Promise<void> }[] = [];
  #closing: Promise<void> | undefined;

  add<Part extends { close(): Promise<void> }>(part: Part): Part {
    this.#parts.push(part);
    return part;
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const failures: unknown[] = [];
    for (const part of this.#parts.reverse()) {
      await part.close().catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw new Problem('internal', { reason: 'a part did not close', cause: failures[0] });
  }
}
