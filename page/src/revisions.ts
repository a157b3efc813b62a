/** The revisions that changes are based on, so that the server can refuse a change that would overwrite another one. */

import type { Session } from "./api";
import { candidates, candidatesRead, session } from "./state";

/** The content of an item that the page shows, and the revision of the session that it is from. */
interface Shown {
  readonly revision: number;
  readonly content: string;
}

/** An item that two tabs may change at the same time. */
export interface Thing {
  /** Identifies the item as on the server; changes of items with different names do not conflict. */
  readonly name: string;
  readonly shown: () => Shown;
}

/** The revision of the last change by this page, by name of the item. */
const own = new Map<string, number>();
/** The revision of the last change of all items by this page, such as an undo. */
let ownOfAll = 0;

export function threshold(tomogram: number, kind: number): Thing {
  return inSession(`threshold ${tomogram} ${kind}`, ({ views }) => views[tomogram]?.kinds[kind]?.threshold);
}

export function click(tomogram: number, id: number): Thing {
  return inSession(`click ${id}`, ({ views }) =>
    Object.values(views[tomogram]?.kinds ?? {}).some((view) => view.clicks.some((c) => c.id === id)),
  );
}

/** The name and colour of a kind. */
export function kindAlone(id: number): Thing {
  return inSession(`kind ${id}`, ({ kinds }) => kinds.find((k) => k.id === id));
}

/** The name and colour of a kind, and its content in every tomogram. */
export function kindWithAll(id: number): Thing {
  return inSession(`kind ${id}`, ({ kinds, views }) => [
    kinds.find((k) => k.id === id),
    Object.values(views).map((view) => view.kinds[id]),
  ]);
}

/** The verdict and position of a candidate. */
export function candidate(tomogram: number, kind: number, id: number): Thing {
  const shown = () => {
    const read = candidatesRead.value;
    const found = read?.tomogram === tomogram ? candidates.value[kind]?.find((c) => c.id === id) : undefined;
    return { revision: read?.revision ?? 0, content: JSON.stringify([found?.verdict, found?.point]) };
  };
  return { name: `candidate ${id}`, shown };
}

function inSession(name: string, read: (now: Session) => unknown): Thing {
  const shown = () => {
    const now = session.value;
    return { revision: now?.revision ?? 0, content: JSON.stringify(now && [read(now)]) };
  };
  return { name, shown };
}

/** The revision that a change is based on: the one seen, or that of a newer change by this page. */
export function basisOf(thing: Thing, seen: Shown): number {
  return Math.max(seen.revision, own.get(thing.name) ?? 0, ownOfAll);
}

/** Remembers the revision of a change by this page to an item, or to all items. */
export function remember(thing: Thing | null, revision: number): void {
  if (thing) own.set(thing.name, revision);
  else ownOfAll = revision;
}

/** Forgets all revisions, after a server restart that counts from 1 again. */
export function forget(): void {
  own.clear();
  ownOfAll = 0;
}
