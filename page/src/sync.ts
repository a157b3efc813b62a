/** Keeps the page up to date: reads the session at the start and whenever the server reports a change. */

import { batch, effect } from "@preact/signals";
import type { Job } from "./api";
import { ApiError, getCandidates, getGrey, getSession } from "./api";
import type { Point } from "./geometry";
import * as revisions from "./revisions";
import {
  candidates,
  candidatesRead,
  connection,
  contentVersion,
  grey,
  job,
  notify,
  selected,
  session,
  soFar,
  tomogram,
} from "./state";

let reading: Promise<void> | null = null;
let again = false;
/** Whether the candidates must be read again, whatever the revision. */
let isDoubtful = false;

/** Makes the next refresh read the candidates in any case, because they may show a change that was refused. */
export function doubtCandidates(): void {
  isDoubtful = true;
}

/** Reads the session and the candidates; calls during a read cause one more read. */
export function refresh(): Promise<void> {
  if (reading) {
    again = true;
    return reading;
  }
  reading = (async () => {
    do {
      again = false;
      await read();
    } while (again);
    reading = null;
  })();
  return reading;
}

async function read(): Promise<void> {
  try {
    const next = await getSession();
    batch(() => {
      // A server that was restarted without its session counts revisions from 1 again.
      if (next.revision < (session.value?.revision ?? 0)) {
        candidatesRead.value = null;
        revisions.forget();
      }
      // Tomograms do not change while a server runs; keeping the objects avoids recomputing what depends on them.
      const known = session.value?.tomograms;
      const isSame = known && JSON.stringify(known) === JSON.stringify(next.tomograms);
      session.value = isSame ? { ...next, tomograms: known } : next;
      job.value = next.job;
      if (!next.job) soFar.value = {};
      connection.value = "open";
    });
    void readGrey();
    const known = candidatesRead.value;
    const isKnown = known?.revision === next.revision && known.tomogram === tomogram.value?.id;
    if (!isKnown || isDoubtful) await readCandidates();
  } catch (error) {
    connection.value = error instanceof ApiError && error.status === 401 ? "denied" : "lost";
  }
}

async function readCandidates(): Promise<void> {
  const id = tomogram.value?.id;
  if (id === undefined) return;
  isDoubtful = false;
  const found = await getCandidates(id).catch((error: unknown) => {
    isDoubtful = true;
    throw error;
  });
  if (id !== tomogram.value?.id) return;
  const known = candidatesRead.value;
  if (known?.tomogram === id && found.revision < known.revision) return; // a newer answer arrived first
  batch(() => {
    candidates.value = found.kinds;
    candidatesRead.value = { tomogram: id, revision: found.revision };
    contentVersion.value++;
    const choice = selected.value;
    if (choice && !found.kinds[String(choice.kind)]?.some((c) => c.id === choice.candidate)) selected.value = null;
  });
}

let askedFor: number | null = null;

/** Reads the grey values of the shown tomogram, unless they are known; the slices do not wait for them. */
async function readGrey(): Promise<void> {
  const id = tomogram.value?.id;
  if (id === undefined || grey.value || askedFor === id) return;
  askedFor = id;
  try {
    const found = await getGrey(id);
    if (id === tomogram.value?.id) grey.value = found;
  } catch {
    // The next refresh tries again, and reports errors of the server.
  } finally {
    if (askedFor === id) askedFor = null;
  }
}

/** Listens to server events while the page is visible, as a browser allows six connections per server for all tabs. */
export function followServer(): void {
  let events: EventSource | null = null;
  const listen = () => {
    events?.close();
    events = null;
    if (document.hidden) return;
    void refresh();
    events = new EventSource("/api/events");
    events.addEventListener("open", () => void refresh());
    events.addEventListener("session", () => void refresh());
    events.addEventListener("job", (event) => {
      job.value = JSON.parse((event as MessageEvent<string>).data) as Job;
    });
    events.addEventListener("so_far", (event) => {
      const told = JSON.parse((event as MessageEvent<string>).data) as { kind: number; points: readonly Point[] };
      soFar.value = { ...soFar.value, [told.kind]: told.points };
    });
    events.addEventListener("note", (event) => {
      notify((JSON.parse((event as MessageEvent<string>).data) as { text: string }).text);
    });
    events.addEventListener("done", (event) => {
      const { error } = JSON.parse((event as MessageEvent<string>).data) as { error: string | null };
      if (error) notify(error, true, null);
      void refresh();
    });
    // EventSource reconnects by itself but does not report why it failed; reading the session does.
    events.addEventListener("error", () => void refresh());
  };
  document.addEventListener("visibilitychange", listen);
  listen();
  // After a restart of the server, the page reconnects without a reload.
  setInterval(() => {
    if (document.hidden || connection.value === "open" || connection.value === "connecting") return;
    if (events?.readyState === EventSource.CLOSED) listen();
    else void refresh();
  }, 2000);

  effect(() => {
    if (tomogram.value && !grey.value) void readGrey();
  });
  let shown = tomogram.value?.id;
  effect(() => {
    const id = tomogram.value?.id;
    if (id === shown) return;
    const isFirst = shown === undefined; // in this case refresh reads them
    shown = id;
    if (!isFirst) void readCandidates().catch(() => void refresh());
  });
}
