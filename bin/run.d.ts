export interface RunInPlaceOptions {
  /** Gives a child a channel to this process, which closes when this process ends. */
  readonly ipc?: boolean;
  /** Starts a child although this process could be replaced: it has such a channel itself. */
  readonly asChild?: boolean;
}

export function runInPlace(program: string, args: readonly string[], options?: RunInPlaceOptions): void;
