/** Asked once, when the conversation was marked as solved. */
import { html, useState } from "../vendor.js";
import { Icon } from "../view/icons.js";
import { client, tick } from "./state.js";

const WORDS = ["Bad", "Poor", "Okay", "Good", "Great"];

/** @param {{ conversation: import("../sdk/model.js").Conversation }} properties */
export function Rating({ conversation }) {
  tick.value;
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const { summary, rating } = conversation;
  if (summary.status !== "resolved" || rating) return null;

  /** @param {number} score */
  async function give(score) {
    setBusy(true);
    setProblem("");
    try {
      await client.value?.rate(summary.id, score);
    } catch {
      setProblem("That did not get through. Try again in a moment.");
    }
    setBusy(false);
  }

  return html`<section class="rating" aria-label="Rate this conversation">
    <p>${problem || "How did we do?"}</p>
    <div class="rating-stars" role="group">
      ${WORDS.map(
        (word, index) => html`<button key=${word} type="button" disabled=${busy} aria-label=${`${index + 1} of 5, ${word}`} onClick=${() => give(index + 1)}><${Icon} name="star" size=${26} /></button>`,
      )}
    </div>
  </section>`;
}
