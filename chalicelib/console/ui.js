// The small parts that every page is made of.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { ahead } from "./api.js";
import { date, plural, span } from "./format.js";
import { session } from "./session.js";
import { cell, useCell } from "./state.js";

const SHAPES = {
    fleet: "M4 20V11M10 20V4M16 20v-8M22 20V8",
    deployments: "M4 7l9-4 9 4-9 4zM4 12l9 4 9-4M4 17l9 4 9-4",
    usage: "M4 4v18h18M8 17l4.500-6 4 3 5.500-8",
    access: "M15 11a5 5 0 1 0-4.6 5L12 14h3v-3zM14 12l8 8v2h-4v-3h-3v-2.500",
    plus: "M13 5v16M5 13h16",
    dark: "M21 15A9 9 0 1 1 11 5a7 7 0 0 0 10 10z",
    light: "M13 8a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM13 2v2M13 22v2M2 13h2M22 13h2M5 5l1.500 1.500M19.500 19.500L21 21M5 21l1.500-1.500M19.500 6.500L21 5",
    help: "M13 3a10 10 0 1 0 0 20 10 10 0 0 0 0-20zM10 10.500a3 3 0 1 1 4.200 2.700c-.8.4-1.200 1-1.200 1.800M13 18.500v.2",
    leave: "M15 4H6v18h9M11 13h12M19 9l4 4-4 4",
    copy: "M9 9h12v12H9zM5 17V5h12",
    close: "M6 6l14 14M20 6L6 20",
    back: "M16 5l-8 8 8 8",
    done: "M5 14l5 5L21 7",
    again: "M21 5v6h-6M20.500 11A8.500 8.500 0 1 0 21 16",
};

/** A drawing that says nothing: what it stands for is in words beside it, or the button's name. */
export const Icon = ({ name }) =>
    html`<svg class="icon" viewBox="0 0 26 26" aria-hidden="true" focusable="false"><path d=${SHAPES[name]} /></svg>`;

export const Mark = () =>
    html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
        <rect class="mark-ground" width="32" height="32" rx="8" />
        <rect x="7" y="14" width="4" height="11" rx="1.5" />
        <rect x="14" y="7" width="4" height="18" rx="1.5" />
        <rect class="mark-faint" x="21" y="11" width="4" height="14" rx="1.5" />
    </svg>`;

// What just happened, in a corner and to screen readers

export const notes = cell([]);
let counted = 0;

export function say(text, kind = "fine") {
    const note = { id: ++counted, text, kind };
    notes.value = [...notes.value.slice(-3), note];
    setTimeout(() => dismiss(note.id), kind === "bad" ? 12000 : 5000);
}

const dismiss = (id) => (notes.value = notes.value.filter((note) => note.id !== id));

export function Notes() {
    const shown = useCell(notes);
    const list = (bad) =>
        shown
            .filter((note) => (note.kind === "bad") === bad)
            .map(
                (note) => html`<div class="note ${note.kind}" key=${note.id}>
                    <span>${note.text}</span>
                    <button class="plain" aria-label="Dismiss" onClick=${() => dismiss(note.id)}>
                        <${Icon} name="close" />
                    </button>
                </div>`,
            );
    return html`<div class="notes">
        <div role="alert">${list(true)}</div>
        <div role="status">${list(false)}</div>
    </div>`;
}

// Buttons

/** `current` is whether the component is still shown: what it waits for may come later. */
export function useHere() {
    const here = useRef(true);
    useEffect(() => () => (here.current = false), []);
    return here;
}

/** Does `act` once at a time; what goes wrong is said. */
export function Button({ act, kind = "", children, ...rest }) {
    const [busy, setBusy] = useState(false);
    const here = useHere();
    const press = async () => {
        if (busy) return;
        setBusy(true);
        try {
            await act();
        } catch (error) {
            if (error.name !== "AbortError") say(error.message, "bad");
        }
        if (here.current) setBusy(false);
    };
    return html`<button type="button" class=${kind} aria-busy=${busy} onClick=${press} ...${rest}>${children}</button>`;
}

async function copied(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const field = document.createElement("textarea"); // over plain HTTP there is no clipboard to ask
    const before = document.activeElement;
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    before?.focus();
    if (!done) throw new Error("The browser did not copy it: select it by hand.");
}

export function Copy({ text, what }) {
    const [done, setDone] = useState(false);
    const copy = async () => {
        await copied(text);
        setDone(true);
        say(`Copied: ${what}`);
    };
    return html`
        <${Button} kind="quiet small" act=${copy} aria-label=${`Copy ${what}`}>
            <${Icon} name=${done ? "done" : "copy"} />Copy<//>
    `;
}

/** Something to be copied, in one box. */
export const Snippet = ({ text, what }) =>
    html`
        <div class="snippet">
            <code tabindex="0" aria-label=${what}>${text}</code>
            <${Copy} text=${text} what=${what} />
        </div>
    `;

// Dialogs: the browser's own, which keeps the focus inside and gives it back

export function Dialog({ title, close, children, wide = false }) {
    const ref = useRef();
    useLayoutEffect(() => {
        const dialog = ref.current;
        dialog.showModal();
        dialog.addEventListener("close", close); // a second Esc closes it without asking
        return () => {
            dialog.removeEventListener("close", close);
            dialog.close();
        };
    }, []);
    const cancel = (event) => {
        event.preventDefault();
        close();
    };
    return html`<dialog ref=${ref} class=${wide ? "wide" : ""} aria-labelledby="dialog-title" onCancel=${cancel}>
        <header>
            <h2 id="dialog-title">${title}</h2>
            <button class="plain" aria-label="Close" onClick=${close}><${Icon} name="close" /></button>
        </header>
        ${children}
    </dialog>`;
}

const question = cell(null);

// Whoever signs in next is not asked what another one began.
session.follow(() => {
    if (session.value.key !== null) return;
    question.value?.answer(false);
    question.value = null;
    notes.value = [];
});

/** Whether a person agrees. `typed` has to be typed first, where it cannot be undone. */
export const ask = (title, text, action, { typed = "", kind = "danger" } = {}) =>
    new Promise((answer) => (question.value = { title, text, action, typed, kind, answer }));

export function Question() {
    const asked = useCell(question);
    const [given, setGiven] = useState("");
    if (!asked) return null;
    const end = (answer) => {
        question.value = null;
        setGiven("");
        asked.answer(answer);
    };
    const agree = (event) => {
        event.preventDefault();
        if (given === asked.typed) end(true);
    };
    return html`<${Dialog} key=${asked.title} title=${asked.title} close=${() => end(false)}>
        <form onSubmit=${agree}>
            <p>${asked.text}</p>
            ${asked.typed &&
            html`<label>Type <code>${asked.typed}</code> to confirm
                <input value=${given} onInput=${(event) => setGiven(event.target.value)} autocomplete="off"
                    autocapitalize="off" spellcheck="false" />
            </label>`}
            <div class="actions end">
                <button type="button" onClick=${() => end(false)}>Cancel</button>
                <button type="submit" class=${asked.kind} disabled=${given !== asked.typed}>${asked.action}</button>
            </div>
        </form>
    <//>`;
}

// Times that go on by themselves, without anything being drawn again

const ticking = new Set();
setInterval(() => document.hidden || ticking.forEach((tick) => tick()), 1000);

export function Ago({ at }) {
    const ref = useRef();
    useLayoutEffect(() => {
        const since = Date.parse(at);
        const tick = () => {
            const text = `${span((Date.now() + ahead - since) / 1000)} ago`;
            if (ref.current && ref.current.textContent !== text) ref.current.textContent = text;
        };
        ticking.add(tick);
        tick();
        return () => ticking.delete(tick);
    }, [at]);
    return html`<time ref=${ref} datetime=${at} title=${date(at)}></time>`;
}

// States

export const Status = ({ is, label = is }) => html`
    <span class="status is-${is}"><i aria-hidden="true"></i>${label}</span>
`;

export const Labels = ({ of }) =>
    Object.entries(of).map(([name, value]) => html`<span class="label" key=${name}>${name}<b>${value}</b></span>`);

export const Bar = ({ share, label, kind = "" }) =>
    html`
        <div class="bar ${kind}" role="img" aria-label=${label}>
            <i style=${{ width: `${Math.min(100, Math.max(0, share))}%` }}></i>
        </div>
    `;

export const Empty = ({ title, children }) => html`<div class="empty"><h2>${title}</h2>${children}</div>`;

export const Facts = ({ of }) =>
    html`<dl class="facts">${Object.entries(of).map(
        ([name, value]) => value !== null && value !== undefined && value !== "" && value !== false && html`
            <div key=${name}><dt>${name}</dt><dd>${value}</dd></div>
        `,
    )}</dl>`;

const STEP = 50;

/** `[shown, more]`: the first entries of a long list, and a button that shows more of them. */
export function useFirst(entries, word) {
    const [count, setCount] = useState(STEP);
    const left = entries.length - count;
    const more = left > 0 && html`
        <p class="more">
            <button class="small" onClick=${() => setCount(count + 2 * STEP)}>
                Show ${plural(Math.min(left, 2 * STEP), `more ${word}`)}
            </button> <span class="muted">${count} of ${plural(entries.length, word)}</span>
        </p>
    `;
    return [entries.slice(0, count), more];
}

// On another page the focus goes to its heading, as soon as there is one and unless somebody went elsewhere meanwhile

let arriving = null;

export function arrive() {
    arriving = { from: document.activeElement };
    settle();
}

function settle() {
    const heading = document.querySelector("h1[tabindex]");
    if (!arriving || !heading) return;
    if ([arriving.from, document.body].includes(document.activeElement)) heading.focus({ preventScroll: true });
    arriving = null;
}

/** What a poll has so far: nothing yet, an error, or the thing itself. */
export function Loaded({ from, children }) {
    useEffect(settle, [from.data === undefined]);
    const gone = from.error?.status === 404; // also what was there at the last look
    if (from.data !== undefined && !gone) return children(from.data);
    if (!from.error) return html`<p class="waiting" role="status">Loading …</p>`;
    return html`<div class="empty"><h2>${gone ? "It is not there" : "That did not work"}</h2>
        <p>${from.error.message}</p>
        <button onClick=${from.again}>Try again</button>
    </div>`;
}

/** A part of the page that the worker has to be asked for. */
export function Asked({ id, title, look, online, children, actions }) {
    const body = look.data !== undefined ? children(look.data)
        : look.error ? html`<p class="waiting">${look.error.message}</p>`
        : html`<p class="waiting" role="status">Asking the worker …</p>`;
    return html`<section aria-labelledby=${id}>
        <header class="section-head"><h2 id=${id}>${title}</h2>
            <div class="actions">
                ${actions}
                ${online && html`
                    <button class="quiet small" onClick=${look.again} aria-label=${`Refresh ${title}`}>
                        <${Icon} name="again" />
                    </button>
                `}
            </div>
        </header>
        ${body}
    </section>`;
}
