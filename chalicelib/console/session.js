// Whose console this is. The key lives as long as the tab, and is never part of an address.
import { cell } from "./state.js";

const KEY = "muster.key";
const ROLES = ["viewer", "operator", "admin"];

/** null: signed out. `reason` says why, where it was not by choice. */
export const session = cell({ key: sessionStorage.getItem(KEY), who: null, reason: "" });

export function signedIn(key, who) {
    sessionStorage.setItem(KEY, key);
    session.value = { key, who, reason: "" };
}

export function signOut(reason = "") {
    sessionStorage.removeItem(KEY);
    session.value = { key: null, who: null, reason };
}

/** Whether the key's role may do what `role` may. */
export function may(role) {
    const own = session.value.who?.role;
    return ROLES.indexOf(own) >= ROLES.indexOf(role);
}
