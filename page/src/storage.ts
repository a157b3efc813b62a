/** Settings that this browser remembers; a full or disabled storage is not an error. */

export function recall<T extends object>(key: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(`cryosam:${key}`);
    return text ? { ...otherwise, ...(JSON.parse(text) as Partial<T>) } : otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key: string, value: object): void {
  try {
    localStorage.setItem(`cryosam:${key}`, JSON.stringify(value));
  } catch {
    // Private windows may refuse; the page works without storage.
  }
}
