import { Icon } from "./icons";
import { connection, dismiss, notices, placing, session } from "./state";

/** Short messages, and a hint while the next click moves or adds a particle. */
export function Notices() {
  return (
    <div class="notices">
      {placing.value && (
        <p class="notice placing" role="status">
          {placing.value === "move"
            ? "Click the new position of the selected particle."
            : "Click a particle to add it by hand."}{" "}
          Press <kbd>Esc</kbd> to cancel.
        </p>
      )}
      {notices.value.map(({ id, text, isError }) => (
        <p key={id} class={isError ? "notice error" : "notice"} role={isError ? "alert" : "status"}>
          {isError && <Icon name="warn" />}
          <span>{text}</span>
          <button type="button" class="icon-button" aria-label="Dismiss" onClick={() => dismiss(id)}>
            <Icon name="cross" />
          </button>
        </p>
      ))}
    </div>
  );
}

/** Covers the page if it cannot work, or shows a banner while the server does not answer. */
export function Connection() {
  if (connection.value === "denied")
    return (
      <Full title="The token is missing from the address">
        Open the complete address that <code>cryosam serve</code> printed when it started; it ends in{" "}
        <code>?token=…</code>
      </Full>
    );
  if (connection.value === "lost" && !session.value)
    return (
      <Full title="The server does not answer">
        Is <code>cryosam serve</code> still running, and is the tunnel to it open? This page tries again every two
        seconds.
      </Full>
    );
  if (connection.value === "lost")
    return (
      <p class="banner" role="alert">
        <Icon name="warn" /> The server does not answer. Is <code>cryosam serve</code> still running? Trying again;
        nothing that you did so far is lost.
      </p>
    );
  if (!session.value) return <Full title="Opening the tomogram">One moment.</Full>;
  return null;
}

function Full({ title, children }: { title: string; children: preact.ComponentChildren }) {
  return (
    <div class="full" role="alert">
      <h2>{title}</h2>
      <p>{children}</p>
    </div>
  );
}
