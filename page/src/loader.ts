/** Loads wanted items, the most urgent first; items that are no longer wanted are not requested. */

import { signal } from "@preact/signals";

interface Entry<T> {
  readonly value: T;
  readonly generation: number;
}

export class Loader<T> {
  /** Number of arrivals; reading this signal subscribes to the next one. */
  readonly arrivals = signal(0);
  /** Message of the newest failure, until something arrives. */
  readonly error = signal<string | null>(null);

  private readonly cache = new Map<string, Entry<T>>();
  private readonly inFlight = new Set<string>();
  private wanted: readonly string[] = [];
  private generation = 0;

  /**
   * @param fetch loads the item of a key
   * @param atOnce largest number of simultaneous requests
   * @param capacity number of answers that are kept; the least recently used one is dropped first
   */
  constructor(
    private readonly fetch: (key: string) => Promise<T>,
    private readonly atOnce: number,
    private readonly capacity: number,
  ) {}

  /** Replaces the list of wanted keys, the most urgent first. */
  want(keys: readonly string[]): void {
    this.wanted = keys;
    this.pump();
  }

  /** The item of a key, if loaded; an outdated item is returned until the new one arrives. */
  get(key: string): T | undefined {
    const entry = this.cache.get(key);
    if (!entry) return undefined;
    this.cache.delete(key);
    this.cache.set(key, entry);
    return entry.value;
  }

  /** Loads all wanted items again. */
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
      // Not repeated before the wanted keys change, so that an unreachable server is not asked endlessly.
      this.wanted = this.wanted.filter((k) => k !== key);
    } finally {
      this.inFlight.delete(key);
      this.arrivals.value++;
      this.pump();
    }
  }
}
