// A log as it grows: asked for again from where it ended, while somebody looks.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { fromWorker, segment } from "./api.js";
import { plain } from "./format.js";
import { LIVE } from "./lifecycle.js";

const MOST = 3000; // lines that are kept
const EVERY = 1500, AFTER_ERROR = 8000; // milliseconds

/** Before there is a container nobody has to be asked. */
const hasLog = ({ container_id, status }) => container_id !== null || status === "running";

const kind = (line) => (/\b(ERROR|CRITICAL|Traceback)\b|Error: /.test(line) ? "bad" : /\bWARN(ING)?\b/.test(line) ? "warn" : null);

export function Log({ deployment }) {
    const { deployment_id, status } = deployment;
    const [lines, setLines] = useState([]);
    const [paused, setPaused] = useState(false);
    const [trouble, setTrouble] = useState("");
    const latest = useRef(deployment);
    const since = useRef(null);
    const box = useRef();
    const atEnd = useRef(true);
    latest.current = deployment;
    const live = LIVE.includes(status);

    useEffect(() => {
        if (paused) return;
        const over = new AbortController();
        let timer = 0, busy = false;
        const look = async () => {
            if (busy || document.hidden || over.signal.aborted) return;
            clearTimeout(timer);
            if (!hasLog(latest.current)) {
                timer = setTimeout(look, EVERY);
                return;
            }
            busy = true;
            let wait = LIVE.includes(latest.current.status) ? EVERY : AFTER_ERROR;
            try {
                const query = { lines: since.current ? 2000 : 500, since: since.current, wait: 10 };
                const found = await fromWorker("GET", `deployments/${segment(deployment_id)}/logs`, { query, signal: over.signal });
                if (over.signal.aborted) return;
                const fresh = plain(found.logs ?? "").split("\n");
                if (fresh.at(-1) === "") fresh.pop();
                const goesOn = since.current && found.next_since;
                if (fresh.length || !goesOn) setLines((before) => (goesOn ? [...before, ...fresh] : fresh).slice(-MOST));
                since.current = found.next_since ?? since.current;
                setTrouble("");
            } catch (error) {
                if (over.signal.aborted) return;
                setTrouble(error.message);
                wait = AFTER_ERROR;
            }
            busy = false;
            timer = setTimeout(look, wait);
        };
        document.addEventListener("visibilitychange", look);
        look();
        return () => {
            over.abort();
            clearTimeout(timer);
            document.removeEventListener("visibilitychange", look);
        };
    }, [deployment_id, paused]);

    useLayoutEffect(() => {
        if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
    }, [lines]);

    const state = paused ? "paused" : trouble || !hasLog(deployment) ? "waiting" : live ? "live" : "ended";
    const scrolled = ({ target }) => (atEnd.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40);
    return html`<section aria-labelledby="log">
        <header class="section-head"><h2 id="log">Log</h2>
            <div class="actions">
                <span class="tail ${state === "live" ? "on" : ""}"><i aria-hidden="true"></i>${state}</span>
            <button class="quiet small" onClick=${() => setPaused(!paused)}>${paused ? "Go on" : "Pause"}</button></div>
        </header>
        <pre class="log" ref=${box} onScroll=${scrolled} tabindex="0" role="log" aria-live="off"
            aria-label="Log of ${deployment.name}">
            ${lines.map((line) => html`<span class=${kind(line)}>${line + "\n"}</span>`)}
        </pre>
        <p class="muted" role="status">
            ${trouble || (hasLog(deployment) ? "" : live ? "It has no container yet." : "It had no container.")}
        </p>
    </section>`;
}
