// Where one is, in the address's fragment: it needs nothing of the server, and works wherever the page is served.
import { cell } from "./state.js";

const read = () => {
    try {
        return location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    } catch {
        return [""]; // a fragment that somebody mangled
    }
};

export const place = cell(read());
addEventListener("hashchange", () => (place.value = read()));

export const to = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

export function go(...parts) {
    location.hash = to(...parts);
    place.value = read(); // the event comes later
}

/** What is said instead of the page that was left, while what it shows is taken away: null mostly. */
export const leaving = cell(null);

/** Does `act`, which takes away what this page shows, while nothing asks for it; then goes to `parts`, or comes back. */
export async function leave(text, act, ...parts) {
    const from = location.hash;
    leaving.value = { text, from };
    try {
        await new Promise((drawn) => setTimeout(drawn));
        await act();
        if (location.hash === from) go(...parts);
    } finally {
        leaving.value = null;
    }
}
