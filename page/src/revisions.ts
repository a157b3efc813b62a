/** What a change is based on, by which the server refuses one that would overwrite what somebody else did meanwhile. */

import type { Session } from "./api";
import { candidates, candidatesRead, session } from "./state";

/** What the page shows of a thing, and of which revision of the session that is. */
interface Shown {
  readonly revision: number;
  readonly content: string;
}

/** What two tabs may change at once. */
export interface Thing {
  /** As the server tells things apart: a change to one is no conflict for another. */
  readonly name: string;
  readonly shown: () => Shown;
}

/** By name, the revision that the last change made by this page had. */
const own = new Map<string, number>();
/** That of the last one to everything, such as an undo. */
let ownOfAll = 0;

export function threshold(tomogram: number, kind: number): Thing {
  return inSession(`threshold ${tomogram} ${kind}`, ({ views }) => views[tomogram]?.kinds[kind]?.threshold);
}

export function click(tomogram: number, id: number): Thing {
  return inSession(`click ${id}`, ({ views }) =>
    Object.values(views[tomogram]?.kinds ?? {}).some((view) => view.clicks.some((c) => c.id === id)),
  );
}

/** Its name and colour. */
export function kindAlone(id: number): Thing {
  return inSession(`kind ${id}`, ({ kinds }) => kinds.find((k) => k.id === id));
}

/** Its name and colour, and what it has in every tomogram. */
export function kindWithAll(id: number): Thing {
  return inSession(`kind ${id}`, ({ kinds, views }) => [
    kinds.find((k) => k.id === id),
    Object.values(views).map((view) => view.kinds[id]),
  ]);
}

/** Its verdict and its place. */
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

/** The revision that a change is based on: the one seen, or that of a newer change made by this page itself. */
export function basisOf(thing: Thing, seen: Shown): number {
  return Math.max(seen.revision, own.get(thing.name) ?? 0, ownOfAll);
}

/** Remembers the revision of a change that this page made to a thing, or to everything. */
export function remember(thing: Thing | null, revision: number): void {
  if (thing) own.set(thing.name, revision);
  else ownOfAll = revision;
}

/** For a server that counts anew. */
export function forget(): void {
  own.clear();
  ownOfAll = 0;
}
