/** How long to wait before the next try: doubling, bounded, and spread so that not everybody comes back at once. */

const FIRST_MS = 400;
const LAST_MS = 12_000;

export class Backoff {
  private attempt = 0;

  constructor(private readonly random: () => number = Math.random) {}

  /** Milliseconds until the next try; each call waits longer than the one before. */
  next(): number {
    const full = Math.min(LAST_MS, FIRST_MS * 2 ** this.attempt);
    this.attempt += 1;
    return full * (0.5 + this.random() / 2);
  }

  reset(): void {
    this.attempt = 0;
  }

  get attempts(): number {
    return this.attempt;
  }
}

/** A pause that can be cut short. */
export class Pause {
  private cut: (() => void) | null = null;

  async wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.cut = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.cut = null;
  }

  /** Ends the wait that is going on, if any. */
  end(): void {
    this.cut?.();
  }
}
