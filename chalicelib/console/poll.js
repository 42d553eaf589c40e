// Looking again and again, while somebody looks: a hidden page asks nothing, and a slow answer makes for a longer pause.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { session } from "./session.js";
import { share } from "./state.js";

const remembered = new Map();
session.follow(() => session.value.key === null && remembered.clear());

/**
 * `{data, error, again}` of `load(signal)`, every `seconds` (0: once). What `name` had last is there from the start,
 * unless it has to be `fresh`. `again` is for after an action: what was asked before it is asked once more.
 */
export function usePoll(name, load, seconds, { fresh = false } = {}) {
    const [, redraw] = useState(0);
    const state = useRef({});
    const latest = useRef();
    latest.current = load;
    if (state.current.name !== name) state.current = { name, data: fresh ? undefined : remembered.get(name), error: null };

    useEffect(() => {
        const mine = state.current;
        const over = new AbortController();
        let timer = 0, busy = false, outdated = false;

        const look = async () => {
            clearTimeout(timer);
            if (busy || document.hidden || over.signal.aborted) return;
            busy = true;
            outdated = false;
            const began = performance.now();
            let found = null, failed = null;
            try {
                found = await latest.current(over.signal);
            } catch (error) {
                failed = error;
            }
            if (over.signal.aborted) return;
            busy = false;
            const data = failed ? mine.data : share(mine.data, found);
            if (data !== mine.data || failed || mine.error) redraw((n) => n + 1);
            Object.assign(mine, { data, error: failed });
            if (!failed && !fresh && session.value.key !== null) remembered.set(name, data);
            if (outdated) look();
            else if (seconds) timer = setTimeout(look, Math.max(seconds * 1000, 2 * (performance.now() - began)));
        };
        const shown = () => !document.hidden && (seconds || mine.data === undefined) && look();
        mine.again = () => {
            outdated = true;
            look();
        };
        document.addEventListener("visibilitychange", shown);
        look();
        return () => {
            over.abort();
            clearTimeout(timer);
            document.removeEventListener("visibilitychange", shown);
        };
    }, [name]);

    const { data, error } = state.current;
    return { data, error, again: () => state.current.again?.() };
}
