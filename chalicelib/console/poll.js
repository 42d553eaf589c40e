// Looking again and again, while somebody looks: a hidden page asks nothing, a slow answer makes for a longer pause, and
// so does a page that nobody touches.
import { useEffect, useRef, useState } from "./vendor/preact.js";
import { session } from "./session.js";
import { share } from "./state.js";

const remembered = new Map();
session.follow(() => session.value.key === null && remembered.clear());

const IDLE = 30; // seconds between two looks of a page that nobody touches
const QUIET = 60; // seconds without a touch after which pauses grow
const pollers = new Set();
let touched = performance.now();

const quiet = () => (performance.now() - touched) / 1000;

/** Seconds until the next look: `seconds`, and from a minute to some minutes without a touch up to IDLE. */
const pause = (seconds) => Math.max(seconds, Math.min(IDLE, (seconds * quiet()) / QUIET));

function touch() {
    const was = quiet();
    touched = performance.now();
    if (was > QUIET) for (const look of [...pollers]) look();
}

for (const type of ["pointerdown", "pointermove", "keydown", "wheel", "focus"]) {
    addEventListener(type, touch, { capture: true, passive: true });
}

/**
 * `{data, error, again}` of `load(signal, fresh)`, every `seconds` (0: once). What `name` had last is there from the start,
 * unless it has to be `fresh`. `again` is for after an action: what was asked before it is asked once more, and `load` is
 * told that it has to be as of now.
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
            const asOfNow = outdated;
            outdated = false;
            const began = performance.now();
            let found = null, failed = null;
            try {
                found = await latest.current(over.signal, asOfNow);
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
            else if (seconds) timer = setTimeout(look, Math.max(pause(seconds) * 1000, 2 * (performance.now() - began)));
        };
        const shown = () => {
            if (document.hidden) return;
            touched = performance.now();
            if (seconds || mine.data === undefined) look();
        };
        const returned = () => seconds && look();
        pollers.add(returned);
        mine.again = () => {
            outdated = true;
            look();
        };
        document.addEventListener("visibilitychange", shown);
        look();
        return () => {
            over.abort();
            clearTimeout(timer);
            pollers.delete(returned);
            document.removeEventListener("visibilitychange", shown);
        };
    }, [name]);

    const { data, error } = state.current;
    return { data, error, again: () => state.current.again?.() };
}
