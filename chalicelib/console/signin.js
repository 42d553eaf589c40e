// The way in: an API key, tried before it is kept.
import { html, useState } from "./vendor/preact.js";
import { whoami } from "./api.js";
import { session, signedIn } from "./session.js";
import { useCell } from "./state.js";
import { TONES } from "./models.js";
import { Mark } from "./ui.js";

/** What the page is about, faintly, at its foot. */
const Crowd = () => {
    const height = (at) => 18 + 62 * Math.abs(Math.sin(at * 1.7) * Math.cos(at * 0.43));
    const bars = Array.from({ length: 48 }, (_, at) => ({ at, height: height(at) }));
    return html`<svg class="crowd" viewBox="0 0 480 100" preserveAspectRatio="none" aria-hidden="true">
        ${bars.map(({ at, height }) => html`
            <rect class="tone-${(at * 5 + (at >> 2)) % TONES}" x=${at * 10 + 1} y=${100 - height} width="8"
                height=${height + 4} rx="1.5" />
        `)}
    </svg>`;
};

export function SignIn() {
    const { reason } = useCell(session);
    const [key, setKey] = useState("");
    const [wrong, setWrong] = useState("");
    const [busy, setBusy] = useState(false);
    const enter = async (event) => {
        event.preventDefault();
        const given = key.trim();
        setBusy(true);
        setWrong("");
        try {
            if (!/^[\x21-\x7e]+$/.test(given)) throw new Error("An API key is one word, such as mst_key_….");
            signedIn(given, await whoami(given));
        } catch (error) {
            setWrong(error.status === 401 ? "This key is not known here. Check that it is whole, and not revoked." : error.message);
            setBusy(false);
        }
    };
    return html`<main class="signin">
        <${Crowd} />
        <form onSubmit=${enter} novalidate>
            <${Mark} />
            <h1>Muster</h1>
            <p class="muted">Language models on GPUs anywhere.</p>
            ${reason && html`<p class="banner" role="status">${reason}</p>`}
            <label for="key">API key</label>
            <input id="key" type="password" value=${key} onInput=${(event) => setKey(event.target.value)}
                autocomplete="off" spellcheck="false" autofocus placeholder="mst_key_…"
                aria-describedby="key-wrong key-hint" aria-invalid=${wrong ? "true" : null} />
            <p class="wrong" id="key-wrong" role="alert">${wrong}</p>
            <button class="primary" type="submit" disabled=${busy}>Sign in</button>
            <small class="muted" id="key-hint">
                It stays in this tab and ends with it. The control plane printed one at its first start; admins make
                others.
            </small>
        </form>
    </main>`;
}
