/** The reply box. Enter sends, Shift+Enter begins a new line, `/` anywhere on the page comes here. */
import { html, useEffect, useRef, useState } from "../vendor.js";
import { preview } from "../view/bodies.js";
import { clock } from "../view/dates.js";
import { drafts, threadTick, touched, write } from "./open_thread.js";
import { desk } from "./station.js";

const TALLEST_PX = 220;

/** @typedef {import("./open_thread.js").Kind} Kind */

/** @param {{ current: import("./open_thread.js").Thread, summary: import("../sdk/wire.js").Summary | undefined }} properties */
export function Reply({ current, summary }) {
  threadTick.value;
  const draft = drafts.get(current.id);
  const [text, setText] = useState(draft?.text ?? "");
  const [kind, setKind] = useState(/** @type {Kind} */ (draft?.kind ?? "message"));
  const box = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const { collision } = current;
  const ready = text.trim().length > 0 && current.loaded;

  useEffect(() => {
    const area = box.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, TALLEST_PX)}px`;
  }, [text]);

  useEffect(() => {
    const focus = (/** @type {KeyboardEvent} */ event) => {
      const typing = event.target instanceof HTMLElement && event.target.closest("input, textarea, select");
      if (event.key !== "/" || typing || event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      box.current?.focus();
    };
    addEventListener("keydown", focus);
    return () => removeEventListener("keydown", focus);
  }, []);

  // What was refused comes back into the box: the agent decides whether it still fits.
  useEffect(() => {
    if (!collision) return;
    setText(collision.text);
    drafts.set(current.id, { text: collision.text, kind: "message" });
    box.current?.focus();
  }, [collision?.id]);

  /** @param {string} value */
  function change(value) {
    setText(value);
    drafts.set(current.id, { text: value, kind });
    touched(current);
    if (kind === "message") desk.typing(current.id, value.trim().length > 0);
  }

  /** @param {{ id?: string, expected?: number }} [again] */
  function send(again) {
    if (!ready) return;
    write(current, kind, text.trim(), again);
    desk.typing(current.id, false);
    drafts.delete(current.id);
    setText("");
    box.current?.focus();
  }

  const anyway = () => collision && send({ id: text.trim() === collision.text ? collision.id : undefined, expected: current.newest });
  const edit = () => {
    current.collision = null;
    touched(current);
    threadTick.value += 1;
    box.current?.focus();
  };

  return html`<form
    class=${kind === "note" ? "reply as-note" : "reply"}
    onSubmit=${(/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      if (collision) anyway();
      else send();
    }}
  >
    ${collision && html`<${Warning} collision=${collision} anyway=${anyway} edit=${edit} />`}
    <div class="reply-box">
      <div class="reply-kind" role="group" aria-label="Write a">
        <button type="button" aria-pressed=${kind === "message"} onClick=${() => setKind("message")}>Reply</button>
        <button type="button" aria-pressed=${kind === "note"} onClick=${() => setKind("note")}>Note</button>
      </div>
      <textarea
        ref=${box}
        rows="2"
        aria-label=${kind === "note" ? "Note, only for agents" : "Reply to the customer"}
        placeholder=${kind === "note" ? "Only agents see this…" : summary?.status === "resolved" ? "Write to the customer again…" : "Write a reply…"}
        value=${text}
        onInput=${(/** @type {any} */ event) => change(event.target.value)}
        onKeyDown=${(/** @type {KeyboardEvent} */ event) => {
          if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
          event.preventDefault();
          if (!collision) send();
        }}
        onBlur=${() => desk.typing(current.id, false)}
      ></textarea>
      <div class="reply-foot">
        <span class="reply-hint"><kbd>Enter</kbd> sends, <kbd>Shift</kbd> <kbd>Enter</kbd> new line, <kbd>/</kbd> comes here</span>
        <button type="submit" class="primary" disabled=${!ready || Boolean(collision)}>${kind === "note" ? "Add note" : "Send"}</button>
      </div>
    </div>
  </form>`;
}

/** @param {{ collision: import("./open_thread.js").Collision, anyway: () => void, edit: () => void }} properties */
function Warning({ collision, anyway, edit }) {
  const newest = collision.newer.at(-1);
  const names = [...new Set(collision.newer.map((event) => event.author.name ?? "Someone"))].join(" and ");
  return html`<div class="collision" role="alertdialog" aria-label="New messages since you began">
    <div class="collision-text">
      <strong>${names || "Someone"} wrote while you were typing. Your reply was not sent.</strong>
      ${newest && html`<p>${preview(newest.body)} <time datetime=${newest.at}>${clock(newest.at)}</time></p>`}
    </div>
    <div class="collision-buttons">
      <button type="button" class="quiet" onClick=${edit}>Keep editing</button>
      <button type="button" class="primary" onClick=${anyway}>Send anyway</button>
    </div>
  </div>`;
}
