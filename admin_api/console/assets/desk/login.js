import { html, useEffect, useState } from "../vendor.js";
import { Problem } from "../sdk/admin_api.js";
import { signIn } from "./state.js";

/** @param {unknown} error @returns {string} */
function sentence(error) {
  if (error instanceof Problem && (error.status === 401 || error.status === 403)) return "That e-mail and password do not match.";
  return error instanceof Error ? error.message : String(error);
}

export function Login() {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [demo, setDemo] = useState(/** @type {boolean | null} */ (null));
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");

  // Only `deskbell demo` serves this file; anywhere else the answer is a 404. Asked before the form is there, so that
  // nothing changes under someone's fingers.
  useEffect(() => {
    fetch("/demo/session.json", { cache: "no-store" })
      .then((response) => (response.ok ? response.json() : null))
      .catch(() => null)
      .then((session) => {
        if (session?.agent) {
          setEmail(session.agent.email);
          setPassword(session.agent.password);
        }
        setDemo(Boolean(session?.agent));
      });
  }, []);

  /** @param {SubmitEvent} event */
  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      await signIn(email, password);
    } catch (error) {
      setProblem(sentence(error));
      setBusy(false);
    }
  }

  if (demo === null) return html`<main class="login" aria-busy="true"></main>`;
  return html`<main class="login">
    <form class="login-card" onSubmit=${submit}>
      <img src="/assets/desk/icon.svg" alt="" width="44" height="44" />
      <h1>Sign in to Deskbell</h1>
      <label>E-mail<input type="email" name="email" autocomplete="username" required value=${email} onInput=${(/** @type {any} */ e) => setEmail(e.target.value)} /></label>
      <label>Password<input type="password" name="password" autocomplete="current-password" required value=${password} onInput=${(/** @type {any} */ e) => setPassword(e.target.value)} /></label>
      ${problem && html`<p class="login-problem" role="alert">${problem}</p>`}
      <button class="primary" type="submit" disabled=${busy}>${busy ? "Signing in…" : "Sign in"}</button>
      ${demo && html`<p class="muted login-hint">Filled in for this demo.</p>`}
    </form>
  </main>`;
}
