// Looking again and again, while somebody looks: a hidden page asks nothing, and a slow answer makes for a longer pause.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { session } from "./session.js";
import { share } from "./state.js";

const remembered = new Map();
session.follow(() => session.value.key === null && remembered.clear());

/** `{data, error, again}` of `load(signal)`, every `seconds` (0: once). What `name` had last is there from the start. */
export function usePoll(name, load, seconds) {
    const [, redraw] = useState(0);
    const state = useRef({});
    const latest = useRef();
    latest.current = load;
    if (state.current.name !== name) state.current = { name, data: remembered.get(name), error: null };

    useEffect(() => {
        const mine = state.current;
        const over = new AbortController();
        let timer = 0, busy = false;

        const look = async () => {
            clearTimeout(timer);
            if (busy || document.hidden) return;
            busy = true;
            const began = performance.now();
            try {
                const data = share(mine.data, await latest.current(over.signal));
                if (data !== mine.data || mine.error) redraw((n) => n + 1);
                Object.assign(mine, { data, error: null });
                if (session.value.key !== null) remembered.set(name, data);
            } catch (error) {
                if (over.signal.aborted) return;
                mine.error = error;
                redraw((n) => n + 1);
            }
            busy = false;
            if (seconds && !over.signal.aborted) {
                timer = setTimeout(look, Math.max(seconds * 1000, 2 * (performance.now() - began)));
            }
        };
        const shown = () => !document.hidden && (seconds || mine.data === undefined) && look();
        mine.again = look;
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
