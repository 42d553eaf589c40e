// Conditions: what a worker cannot do although it is online, and which of a deployment's hold it up.
import { html } from "./vendor/preact.js";
import { Ago } from "./ui.js";

/** The types alone, where there is little room; their messages are what a pointer that rests on it shows. */
export const Attention = ({ of }) =>
    of.length > 0 && html`<span class="attention" title=${of.map(({ type, message }) => `${type}: ${message}`).join("\n")}>
        ${of.map(({ type }) => type).join(", ")}
    </span>`;

/** All of it; nothing where all is in order. `title` is "Needs attention" or "Held up by". */
export const Conditions = ({ of, title }) =>
    of.length > 0 && html`<section class="conditions" aria-labelledby="conditions">
        <h2 id="conditions">${title}</h2>
        <ul>
            ${of.map(({ type, since, message }) => html`
                <li key=${type}>
                    <p><b>${type}</b> <small class="muted">set <${Ago} at=${since} /></small></p>
                    ${message && html`<p>${message}</p>`}
                </li>
            `)}
        </ul>
    </section>`;
