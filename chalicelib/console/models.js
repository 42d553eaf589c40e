// Which model has which color: the same on every page, and for as long as the page lives.
import { html } from "./vendor/preact.js";
import { share } from "./state.js";

export const TONES = 8;
const given = new Map();

export function toneOf(model) {
    if (!given.has(model)) given.set(model, given.size % TONES);
    return given.get(model);
}

let last = Object.create(null);

/**
 * Deployment's id to what meters show of it: as long as that stays, so does the object. It has no prototype, since
 * workers say of whom they have something, and nobody is called "constructor".
 */
export function holders(deployments) {
    const found = deployments.map(({ deployment_id, name, model, status }) => [
        deployment_id,
        { name, model, status, tone: `tone-${toneOf(model)}` },
    ]);
    return (last = share(last, Object.assign(Object.create(null), Object.fromEntries(found))));
}

export const FOREIGN = { name: "outside Muster", model: "Outside Muster", tone: "foreign" };

export const Swatch = ({ of }) => html`<i class="swatch ${of.tone}" aria-hidden="true"></i>`;
