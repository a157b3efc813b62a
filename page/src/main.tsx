import { render } from "preact";
import { Dialogs } from "./dialogs";
import { DisplayBar } from "./display-bar";
import { Connection, Notices } from "./notices";
import { Panel } from "./panel/panel";
import { followKeys } from "./shortcuts";
import { followCursor } from "./slices";
import { connection, dialog, followLooks, session, tomogram } from "./state";
import "./style.css";
import { followServer } from "./sync";
import { Toolbar } from "./toolbar";
import { Workspace } from "./workspace";

function App() {
  const name = tomogram.value?.name;
  document.title = name ? `${name} · CryoSAM` : "CryoSAM";
  return (
    <div class="app">
      <Toolbar />
      <Connection />
      {session.value && connection.value !== "denied" && (
        <div class="body">
          <main class="main">
            <Workspace />
            <DisplayBar />
            {!dialog.value && <Notices />}
          </main>
          <Panel />
        </div>
      )}
      <Dialogs />
    </div>
  );
}

followLooks();
followCursor();
followServer();
followKeys();
render(<App />, document.getElementById("app")!);
