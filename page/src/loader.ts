/** Requests that follow a moving wish: the newest wish is served first, and one that was never sent is forgotten. */

import { signal } from "@preact/signals";

interface Entry<T> {
  readonly value: T;
  readonly generation: number;
}

export class Loader<T> {
  /** Counts arrivals; read it to be told of the next one. */
  readonly arrivals = signal(0);
  /** The sentence of the newest failure, until something arrives. */
  readonly error = signal<string | null>(null);

  private readonly cache = new Map<string, Entry<T>>();
  private readonly inFlight = new Set<string>();
  private wanted: readonly string[] = [];
  private generation = 0;

  /**
   * @param fetch what a key stands for
   * @param atOnce how many requests may be under way
   * @param capacity how many answers are kept; the one unused for longest goes first
   */
  constructor(
    private readonly fetch: (key: string) => Promise<T>,
    private readonly atOnce: number,
    private readonly capacity: number,
  ) {}

  /** Replaces the wishes, the most urgent first. */
  want(keys: readonly string[]): void {
    this.wanted = keys;
    this.pump();
  }

  /** What is known of a key: an outdated answer is given until the newer one is here. */
  get(key: string): T | undefined {
    const entry = this.cache.get(key);
    if (!entry) return undefined;
    this.cache.delete(key);
    this.cache.set(key, entry);
    return entry.value;
  }

  /** Asks anew for all that is wanted. */
  invalidate(): void {
    this.generation++;
    this.pump();
  }

  private pump(): void {
    for (const key of this.wanted) {
      if (this.inFlight.size >= this.atOnce) return;
      if (!this.inFlight.has(key) && this.cache.get(key)?.generation !== this.generation) void this.load(key);
    }
  }

  private async load(key: string): Promise<void> {
    const generation = this.generation;
    this.inFlight.add(key);
    try {
      const value = await this.fetch(key);
      this.cache.delete(key);
      this.cache.set(key, { value, generation });
      if (this.cache.size > this.capacity) this.cache.delete(this.cache.keys().next().value as string);
      this.error.value = null;
    } catch (error) {
      this.error.value = error instanceof Error ? error.message : String(error);
      // Not asked for again before the wishes change, or a server that is gone would be asked without end.
      this.wanted = this.wanted.filter((k) => k !== key);
    } finally {
      this.inFlight.delete(key);
      this.arrivals.value++;
      this.pump();
    }
  }
}
