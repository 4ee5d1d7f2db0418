/** One conversation. It exists on the server from its first message on; before that it is only a ride and a text box. */
import { html, useEffect, useLayoutEffect, useRef } from "../vendor.js";
import { initials } from "../view/facts.js";
import { Icon } from "../view/icons.js";
import { timeline, transactionLine } from "../view/timeline.js";
import { Composer } from "./composer.js";
import { Announcer, Bubble } from "./messages.js";
import { Rating } from "./rating.js";
import { RideCard } from "./rides.js";
import { client, rideOf, show, tick } from "./state.js";
import { ConnectionBanner } from "./status_bar.js";

/** @typedef {import("../sdk/wire.js").Event} Event */
/** @typedef {import("../sdk/model.js").Conversation} Conversation */

/** What a customer should see of what is no message; everything else is the desk's business. @param {Event} event @returns {string | null} */
function describe(event) {
  const name = event.body?.assignee?.name;
  switch (event.kind) {
    case "conversation.status":
      if (event.body.status === "resolved") return "Marked as solved";
      return event.body.status === "open" && event.body.previous === "resolved" ? "Conversation reopened" : null;
    case "conversation.assigned":
      return name ? `${name} is looking into it` : null;
    case "transaction.updated":
      return transactionLine(event);
    case "action.updated": {
      const { title, state, message } = event.body.action ?? {};
      return message ?? (state === "done" ? `${title}: done` : null);
    }
    case "rating.given":
      return `You rated this conversation ${event.body.score} out of 5`;
    default:
      return null;
  }
}

/** @param {Conversation | undefined} conversation @returns {string} who answers, as far as one can tell */
function agentName(conversation) {
  const events = conversation?.events ?? [];
  for (let i = events.length - 1; i >= 0; i -= 1) {
    if (events[i].kind === "message" && events[i].author.type === "agent" && events[i].author.name) return events[i].author.name ?? "";
  }
  return conversation?.summary.assignee?.name ?? "";
}

/** @param {Conversation | undefined} conversation @returns {string[]} */
function typists(conversation) {
  const now = performance.now();
  return [...(conversation?.typing.values() ?? [])].filter((one) => one.until > now).map((one) => one.name);
}

/** @param {{ view: { conversation: string, about: string | null, topic: string | null } }} properties */
export function Chat({ view }) {
  tick.value;
  const current = /** @type {import("../sdk/user_client.js").UserClient} */ (client.value);
  const id = view.conversation;
  const conversation = current.model.conversations.get(id);
  const pending = current.outbox.entries.filter((entry) => entry.conversation === id);
  const first = pending.find((entry) => entry.verb === "open");
  const summary = conversation?.summary;
  const ride = rideOf(summary, view.about ?? first?.transaction ?? null);
  const typing = typists(conversation);
  const rows = timeline(conversation?.events ?? [], pending, describe);
  const { scroller, onScroll } = useThread(id, conversation, rows.length, typing.length);

  /** @param {string} text */
  function submit(text) {
    if (conversation || first) current.send(id, text);
    else current.open({ conversation: id, transaction: view.about ?? undefined, topic: view.topic ?? undefined, text });
  }

  return html`<div class="app chat">
    <${Header} name=${agentName(conversation)} typing=${typing} live=${current.connection.live} online=${current.connection.live && current.model.agentsOnline} />
    <${ConnectionBanner} />
    ${ride && html`<${RideCard} ride=${ride} />`}
    <div class="scroll thread" ref=${scroller} onScroll=${onScroll} role="log" aria-live="off" aria-label="Messages" tabindex="0">
      ${conversation?.loaded &&
      conversation.more &&
      html`<button type="button" class="earlier" onClick=${() => current.history(id)}>Show earlier messages</button>`}
      ${rows.length === 0 && html`<p class="thread-start">Tell us what happened. A person reads this, and already sees the ${ride ? "ride" : "rides"} you took.</p>`}
      ${rows.map((row) => {
        if (row.row === "day") return html`<p key=${row.key} class="day-line"><span>${row.text}</span></p>`;
        if (row.row === "line") return html`<p key=${row.key} class="system-line">${row.text}</p>`;
        return html`<${Bubble} key=${row.key} row=${row} summary=${summary} lastMine=${row === lastMine(rows)} />`;
      })}
      ${typing.length > 0 && html`<p class="typing"><span class="typing-dots" aria-hidden="true"><i></i><i></i><i></i></span><span class="hidden">${typing[0]} is typing</span></p>`}
    </div>
    <${Announcer} rows=${rows} ready=${conversation?.loaded ?? false} />
    ${conversation && html`<${Rating} conversation=${conversation} />`}
    <${Composer} conversation=${id} submit=${submit} resolved=${summary?.status === "resolved"} />
  </div>`;
}

/** @param {import("../view/timeline.js").Row[]} rows */
function lastMine(rows) {
  for (let i = rows.length - 1; i >= 0; i -= 1) {
    const row = rows[i];
    if (row.row === "message" && row.event.author.type === "user" && row.entry?.state !== "failed") return row;
  }
  return null;
}

/** @param {{ name: string, typing: string[], live: boolean, online: boolean }} properties */
function Header({ name, typing, live, online }) {
  const calm = live ? "We answer here" : "Not connected";
  const line = typing.length > 0 ? `${typing[0]} is typing…` : online ? "Online now" : calm;
  return html`<header class="bar">
    <button type="button" class="icon-button" aria-label="Back" onClick=${() => show({ screen: "help" })}><${Icon} name="back" /></button>
    <span class=${name ? "avatar agent" : "avatar brand"}>${name ? initials(name) : html`<img src="/assets/phone/icon.svg" alt="" />`}</span>
    <div class="bar-who"><h1>${name || "Kestrel Support"}</h1><p class=${online || typing.length ? "online" : ""}>${line}</p></div>
  </header>`;
}

/**
 * Keeps the thread where the reader is: at the bottom when they were there, on the same message when older ones come in.
 * Reads the newest page when the chat opens, and marks as read what is really on screen.
 * @param {string} id @param {Conversation | undefined} conversation @param {number} rows @param {number} typing
 */
function useThread(id, conversation, rows, typing) {
  const scroller = useRef(/** @type {HTMLDivElement | null} */ (null));
  const place = useRef({ bottom: true, height: 0, oldest: Number.MAX_SAFE_INTEGER });
  const current = /** @type {import("../sdk/user_client.js").UserClient} */ (client.value);
  const oldest = conversation?.events[0]?.seq ?? Number.MAX_SAFE_INTEGER;
  const live = current.connection.live;

  useEffect(() => {
    if (conversation && !conversation.loaded && live) current.history(id);
  }, [id, conversation, conversation?.loaded, live]);

  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    if (oldest < place.current.oldest && !place.current.bottom) box.scrollTop += box.scrollHeight - place.current.height;
    else if (place.current.bottom) box.scrollTop = box.scrollHeight;
    place.current.height = box.scrollHeight;
    place.current.oldest = oldest;
  }, [rows, oldest, typing]);

  // The keyboard, the rating row and the banner change the room there is; whoever was at the end stays there.
  useEffect(() => {
    const box = scroller.current;
    if (!box) return undefined;
    const watcher = new ResizeObserver(() => {
      if (place.current.bottom) box.scrollTop = box.scrollHeight;
    });
    watcher.observe(box);
    return () => watcher.disconnect();
  }, []);

  useEffect(() => {
    const readIfSeen = () => document.visibilityState === "visible" && place.current.bottom && current.read(id);
    readIfSeen();
    document.addEventListener("visibilitychange", readIfSeen);
    return () => document.removeEventListener("visibilitychange", readIfSeen);
  }, [id, conversation?.summary.seq, live]);

  const onScroll = () => {
    const box = scroller.current;
    if (!box) return;
    place.current.bottom = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    place.current.height = box.scrollHeight;
    if (place.current.bottom && document.visibilityState === "visible") current.read(id);
  };
  return { scroller, onScroll };
}
