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
export const go = (...parts) => (location.hash = to(...parts));
