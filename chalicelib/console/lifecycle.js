// A deployment's life as a line of stations (docs/protocol.md, Status), with the time that it spent at each.
import { html } from "./vendor/preact.js";
import { span } from "./format.js";

/** States in which something of it runs, or is about to. */
export const LIVE = ["pending", "downloading", "starting", "running", "stopping"];

const UP = ["pending", "downloading", "starting", "running"];
const DOWN = ["running", "stopping", "stopped"];
const TITLE = {
    pending: "Pending",
    downloading: "Downloading",
    starting: "Starting",
    running: "Running",
    stopping: "Stopping",
    stopped: "Stopped",
    error: "Failed",
};

/** Stations in order, with `state`: done, here, failed, skipped or ahead. `reached`: those that this life came to. */
export function stations(status, reached = []) {
    const way = ["stopping", "stopped"].includes(status) ? DOWN : UP;
    if (status === "error") {
        const last = Math.max(0, ...UP.map((status, at) => (reached.includes(status) ? at : 0)));
        const past = (name, at) => (reached.includes(name) || at === 0 ? "done" : "skipped");
        return UP.map((name, at) => ({ name, state: at > last ? "ahead" : at === last ? "failed" : past(name, at) }));
    }
    const now = way.indexOf(status);
    return way.map((name, at) => {
        if (at > now) return { name, state: "ahead" };
        if (at === now) return { name, state: at === way.length - 1 ? "done here" : "here" };
        const skipped = name === "downloading" && reached.length > 0 && !reached.includes(name);
        return { name, state: skipped ? "skipped" : "done" };
    });
}

const BEGINNINGS = ["created", "start", "restart", "change"];

/** The states of the latest life, oldest first, each with when it began in milliseconds. `events` come newest first. */
export function thisLife(events) {
    const last = events.findIndex((event) => BEGINNINGS.includes(event.type));
    const life = events.slice(0, last < 0 ? events.length : last + 1).reverse();
    return life
        .map((event) => ({ state: BEGINNINGS.includes(event.type) ? "pending" : event.type, at: Date.parse(event.at) }))
        .filter(({ state }) => Object.hasOwn(TITLE, state));
}

/** State to the seconds that were spent in it. */
export function spent(life, now) {
    const found = {};
    life.forEach(({ state, at }, index) => {
        found[state] = (found[state] ?? 0) + ((life[index + 1]?.at ?? now) - at) / 1000;
    });
    return found;
}

export function Lifecycle({ deployment, events, now }) {
    const life = thisLife(events ?? []);
    const reached = life.map(({ state }) => state);
    const seconds = spent(life, now);
    const shown = stations(deployment.status, reached);
    return html`<ol class="rail" aria-label="Lifecycle">${shown.map(({ name, state }) => {
        const at = state.includes("here") || state === "failed";
        const timed = name in seconds && state !== "ahead" && name !== "stopped";
        const time = timed ? `${state === "failed" ? "failed after " : ""}${span(seconds[name])}` : "";
        return html`<li key=${name} class=${state} aria-current=${at ? "step" : null}>
            <i aria-hidden="true"></i><span>${TITLE[name]}</span>
            <small>${state === "skipped" ? "not needed" : time}</small>
        </li>`;
    })}</ol>`;
}

/** The same in a row of a list: a dot for each station. */
export const Dots = ({ status }) =>
    html`
        <span class="dots" aria-hidden="true">
            ${stations(status, status === "error" ? UP.slice(0, 3) : []).map(({ state }) => html`
                <i class=${state}></i>
            `)}
        </span>
    `;
