import { effect, html, render } from "../vendor.js";
import { Inbox } from "./inbox.js";
import { Login } from "./login.js";
import { thread } from "./open_thread.js";
import { Panel, panelOpen } from "./panel.js";
import { followHash, phase, resume, unreadOf } from "./state.js";
import { ThreadView } from "./thread.js";

function Desk() {
  if (phase.value === "starting") return html`<main class="starting" aria-busy="true"><span class="spinner" aria-hidden="true"></span><span class="hidden">Starting</span></main>`;
  if (phase.value === "signed-out") return html`<${Login} />`;
  const current = thread.value;
  const classes = ["desk", current && "has-thread", panelOpen.value && "has-panel"].filter(Boolean).join(" ");
  return html`<div class=${classes}>
    <${Inbox} />
    ${current
      ? html`<${ThreadView} key=${current.id} current=${current} /><${Panel} key=${`panel-${current.id}`} current=${current} />`
      : html`<main class="nothing"><p>Choose a conversation.<br /><span class="muted">You see the ride next to it.</span></p></main>`}
  </div>`;
}

effect(() => {
  const count = phase.value === "ready" ? unreadOf("open") : 0;
  document.title = count > 0 ? `(${count}) Deskbell` : "Deskbell";
});

addEventListener("popstate", followHash);
addEventListener("hashchange", followHash);
render(html`<${Desk} />`, /** @type {HTMLElement} */ (document.getElementById("root")));
await resume();
