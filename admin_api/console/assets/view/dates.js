/** Times are for display only (protocol.md, "Transport"); order is `seq`. */
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const WEEKDAY = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const DAY = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
const YEAR = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const DAY_MS = 86_400_000;

/** @param {Date} date */
function midnight(date) {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** @param {string | undefined} at @returns {Date | null} */
function parse(at) {
  const date = at ? new Date(at) : null;
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

/** @param {string | undefined} at @returns {string} "14:05" */
export function clock(at) {
  const date = parse(at);
  return date ? CLOCK.format(date) : "";
}

/** @param {string | undefined} at @returns {string} "Today", "Yesterday", "Monday", "Mon 3 Mar", "3 Mar 2024" */
export function day(at, now = new Date()) {
  const date = parse(at);
  if (!date) return "";
  const days = Math.round((midnight(now) - midnight(date)) / DAY_MS);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days === -1) return "Tomorrow";
  if (days > 0 && days < 7) return WEEKDAY.format(date);
  return date.getFullYear() === now.getFullYear() ? DAY.format(date) : YEAR.format(date);
}

/** @param {string | undefined} at @returns {string} "Today, 14:05" */
export function moment(at) {
  return at ? `${day(at)}, ${clock(at)}` : "";
}

/** @param {string | undefined} at @returns {string} "now", "5m", "3h", "2d", then a date: how long something waits, at a glance */
export function ago(at, now = new Date()) {
  const date = parse(at);
  if (!date) return "";
  const seconds = (now.getTime() - date.getTime()) / 1000;
  if (seconds < 60) return "now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`;
  if (seconds < 7 * 86_400) return `${Math.floor(seconds / 86_400)}d`;
  return day(at, now);
}
