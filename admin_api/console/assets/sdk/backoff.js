const FIRST_MS = 500;
const LONGEST_MS = 30_000;

/**
 * Full-jitter exponential backoff, 0.5 s … 30 s (protocol.md, "Keeping alive, draining"). Jitter over the whole range is
 * what keeps a million phones from coming back in the same second after a restart.
 * @param {number} attempt 0 for the first retry
 * @param {() => number} random uniform in [0, 1)
 * @returns {number} milliseconds to wait
 */
export function backoff(attempt, random = Math.random) {
  return random() * Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempt, 10));
}
