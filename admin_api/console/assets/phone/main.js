import { html, render } from "../vendor.js";
import { Chat } from "./chat.js";
import { DemoPanel, DemoSheet } from "./demo.js";
import { Help } from "./help.js";
import { Home } from "./home.js";
import { loadSession } from "./session.js";
import { begin, client, problem, view } from "./state.js";
import { StatusBar } from "./status_bar.js";

function Screen() {
  if (problem.value) return html`<div class="empty" role="alert"><p>${problem.value}</p></div>`;
  if (!client.value) return html`<div class="empty" aria-busy="true"><p class="muted">Starting…</p></div>`;
  const current = view.value;
  if (current.screen === "chat") return html`<${Chat} key=${current.conversation} view=${current} />`;
  return current.screen === "help" ? html`<${Help} />` : html`<${Home} />`;
}

function Stage() {
  return html`<main class="stage">
    <${DemoPanel} />
    <div class="phone">
      <${StatusBar} />
      <div class="screen"><${Screen} /></div>
      <${DemoSheet} />
    </div>
  </main>`;
}

render(html`<${Stage} />`, /** @type {HTMLElement} */ (document.getElementById("root")));
try {
  await begin(await loadSession());
} catch (error) {
  problem.value = error instanceof Error ? error.message : String(error);
}
