/** The modal dialogs: help, and import of points. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import * as actions from "./actions";
import { Icon } from "./icons";
import { Notices } from "./notices";
import { POINTER, SHORTCUTS } from "./shortcuts";
import { dialog, job, kind, session } from "./state";

export function Dialogs() {
  if (dialog.value === "help") return <Help />;
  if (dialog.value === "import") return <Import />;
  return null;
}

function Dialog({ title, children, wide }: { title: string; children: ComponentChildren; wide?: boolean }) {
  const host = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    host.current!.showModal();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a modal dialog without code
    <dialog
      ref={host}
      class={wide ? "dialog wide" : "dialog"}
      aria-labelledby="dialog-title"
      onClose={() => (dialog.value = null)}
      onClick={(event) => {
        // A click on the dialog element itself is a click outside its body.
        if (event.target === host.current) host.current?.close();
      }}
    >
      <div class="dialog-body">
        <div class="section-head">
          <h2 id="dialog-title">{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={() => host.current?.close()}>
            <Icon name="cross" />
          </button>
        </div>
        {children}
        <Notices />
      </div>
    </dialog>
  );
}

function Help() {
  return (
    <Dialog title="Keys and pointer" wide>
      <div class="help">
        <section>
          <h3>Pointer</h3>
          <dl>
            {POINTER.map(([keys, what]) => (
              <div key={keys}>
                <dt>{keys}</dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </section>
        {Object.entries(SHORTCUTS).map(([name, shortcuts]) => (
          <section key={name}>
            <h3>{name}</h3>
            <dl>
              {shortcuts.map(({ shown, what }) => (
                <div key={shown}>
                  <dt>
                    <kbd>{shown}</kbd>
                  </dt>
                  <dd>{what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <p class="muted">
        CryoSAM {session.value?.version}. Coordinates are z, y, x in voxels, counted from 0. Your data stay on this
        machine and on the server.{" "}
        <a href="/licenses.txt" target="_blank" rel="noopener">
          Licences of third-party software
        </a>
      </p>
    </Dialog>
  );
}

function Import() {
  const file = useSignal<File | null>(null);
  const role = useSignal<"candidates" | "clicks">("candidates");
  const segments = useSignal(true);
  const isBusy = useSignal(false);
  async function send() {
    if (!file.value) return;
    isBusy.value = true;
    const isDone = await actions.importPoints(file.value, role.value, segments.value);
    isBusy.value = false;
    if (isDone) dialog.value = null;
  }
  return (
    <Dialog title="Import points">
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <label class="file">
          <span>CSV (columns z, y, x in voxels), RELION STAR, CryoET Data Portal, copick, IMOD or Dynamo</span>
          <input
            type="file"
            accept=".csv,.star,.ndjson,.json,.mod,.tbl,.em"
            onChange={(event) => (file.value = event.currentTarget.files?.[0] ?? null)}
          />
        </label>
        <fieldset>
          <legend>
            Import into <strong>{kind.value?.name ?? "a new kind"}</strong> as
          </legend>
          <label>
            <input
              type="radio"
              name="role"
              checked={role.value === "candidates"}
              onChange={() => (role.value = "candidates")}
            />
            accepted particles, to view and export
          </label>
          <label>
            <input
              type="radio"
              name="role"
              checked={role.value === "clicks"}
              onChange={() => (role.value = "clicks")}
            />
            clicks, to find more particles of this kind
          </label>
        </fieldset>
        <label
          title={
            job.value
              ? "Another search or segmentation is running; you can do this in the list of candidates afterwards"
              : undefined
          }
        >
          <input
            type="checkbox"
            checked={segments.value && role.value === "candidates" && !job.value}
            disabled={role.value !== "candidates" || !!job.value}
            onChange={(event) => (segments.value = event.currentTarget.checked)}
          />
          Segment them in the background
        </label>
        <div class="form-end">
          <button class="button primary" type="submit" disabled={!file.value || isBusy.value}>
            {isBusy.value ? "Reading" : "Import"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
