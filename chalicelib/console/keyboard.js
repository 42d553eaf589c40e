// Everything by keyboard: single keys where nobody types, two for places.
import { html, useEffect } from "./vendor/preact.js";
import { go } from "./router.js";
import { may } from "./session.js";
import { toggle } from "./theme.js";
import { Dialog } from "./ui.js";

const PLACES = { f: [], d: ["deployments"], u: ["usage"], a: ["access"] };

export const KEYS = {
    "g f": "Fleet",
    "g d": "Deployments",
    "g u": "Usage",
    "g a": "Access",
    n: "Deploy a model",
    "/": "Filter the list",
    "j k": "Next and previous entry of a list",
    t: "Dark or light",
    "?": "These keys",
    Esc: "Close a dialog",
};

/** In a field, or while a dialog wants an answer first. */
const typing = (target) =>
    target.closest?.("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]");

function move(by) {
    const rows = [...document.querySelectorAll("[data-row]")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by];
    next?.focus();
}

const ACTS = {
    t: toggle,
    j: () => move(1),
    k: () => move(-1),
    n: () => may("operator") && go("deploy"),
    "/": () => document.querySelector("[data-filter]")?.focus(),
};

export function useKeys(help) {
    useEffect(() => {
        let before = "";
        const pressed = (event) => {
            if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
            const second = before === "g" && PLACES[event.key];
            before = event.key;
            const act = second ? () => go(...second) : { "?": help, ...ACTS }[event.key];
            if (!act) return;
            event.preventDefault();
            act();
        };
        addEventListener("keydown", pressed);
        return () => removeEventListener("keydown", pressed);
    }, []);
}

export const Help = ({ close }) => html`
        <${Dialog} title="Keys" close=${close}>
            <dl class="keys">
                ${Object.entries(KEYS).map(([keys, what]) => html`
                    <div key=${keys}>
                        <dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd>`)}</dt>
                        <dd>${what}</dd>
                    </div>
                `)}
            </dl>
        <//>
    `;
