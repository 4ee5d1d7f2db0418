/** The send box. Enter sends, Shift+Enter begins a new line. */
import { html, useEffect, useRef, useState } from "../vendor.js";
import { Icon } from "../view/icons.js";
import { client, drafts } from "./state.js";

const TALLEST_PX = 120;
const LONGEST_BYTES = 16 * 1024;
const encoder = new TextEncoder();

/** @param {{ conversation: string, submit: (text: string) => void, resolved: boolean }} properties */
export function Composer({ conversation, submit, resolved }) {
  const [text, setText] = useState(drafts.get(conversation) ?? "");
  const box = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const tooLong = text.length > LONGEST_BYTES / 4 && encoder.encode(text).length > LONGEST_BYTES;
  const ready = text.trim().length > 0 && !tooLong;

  useEffect(() => {
    const area = box.current;
    if (!area) return;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, TALLEST_PX)}px`;
  }, [text]);

  /** @param {string} value */
  function change(value) {
    setText(value);
    drafts.set(conversation, value);
    client.value?.typing(conversation, value.trim().length > 0);
  }

  function send() {
    if (!ready) return;
    submit(text.trim());
    client.value?.typing(conversation, false);
    setText("");
    drafts.delete(conversation);
    box.current?.focus();
  }

  /** @param {KeyboardEvent} event */
  function onKeyDown(event) {
    // While an input method composes, Enter picks a candidate.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  }

  return html`<form
    class="composer"
    onSubmit=${(/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      send();
    }}
  >
    ${tooLong && html`<p class="composer-problem" role="alert">This message is too long to send. Split it in two.</p>`}
    <div class="composer-row">
      <textarea
        ref=${box}
        rows="1"
        aria-label="Message"
        placeholder=${resolved ? "Write to reopen…" : "Message"}
        value=${text}
        onInput=${(/** @type {any} */ event) => change(event.target.value)}
        onKeyDown=${onKeyDown}
        onBlur=${() => client.value?.typing(conversation, false)}
      ></textarea>
      <button type="submit" class="send" aria-label="Send" disabled=${!ready}><${Icon} name="send" /></button>
    </div>
  </form>`;
}
