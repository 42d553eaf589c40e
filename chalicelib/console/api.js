// Calls to the API, which is a sibling of wherever this file was served from: below a stage, behind a proxy, or at the root.
import { session, signOut } from "./session.js";
import { cell } from "./state.js";

export const ROOT = new URL("../../", import.meta.url);

/** The milliseconds by which the control plane's clock is ahead of this one: ages are told by the former. */
export let ahead = 0;

/** Whether the control plane does not answer. */
export const lost = cell(false);

export class ApiError extends Error {
    constructor(status, code, message) {
        super(message);
        Object.assign(this, { status, code });
    }
}

const PATIENCE = 40000;
const KEPT = 32; // answers

/** URL to the last answer and its ETag: what did not change is not sent again, and is the same object. */
const kept = new Map();
session.follow(() => session.value.key === null && kept.clear());

function keep(url, tag, content) {
    kept.delete(url);
    if (tag) kept.set(url, { tag, content });
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
}

async function request(method, path, { query, body, key = session.value.key, signal } = {}) {
    const url = new URL(`api/${path}`, ROOT);
    for (const [name, value] of Object.entries(query ?? {})) {
        if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
    }
    const limit = AbortSignal.timeout(PATIENCE);
    const init = { method, headers: { Authorization: `Bearer ${key}` }, cache: "no-store", credentials: "omit" };
    const had = method === "GET" && key === session.value.key ? kept.get(url.href) : undefined;
    if (had) init.headers["If-None-Match"] = had.tag;
    init.signal = signal ? AbortSignal.any([signal, limit]) : limit;
    if (body !== undefined) Object.assign(init, { body: JSON.stringify(body) });
    let answer, content;
    try {
        answer = await fetch(url, init);
        content = answer.status === 304 && had ? had.content : await answer.json().catch((error) => {
            if (!(error instanceof SyntaxError)) throw error;
            return null; // a page of something on the way
        });
    } catch (error) {
        if (signal?.aborted) throw error;
        lost.value = true;
        throw new ApiError(0, "UNREACHABLE", "The control plane cannot be reached.");
    }
    ahead = (Date.parse(answer.headers.get("Date")) || Date.now()) - Date.now();
    lost.value = false;
    if (answer.status === 304 && had) return { status: 200, content };
    if (answer.ok && content !== null) {
        if (method === "GET" && key === session.value.key) keep(url.href, answer.headers.get("ETag"), content);
        return { status: answer.status, content };
    }
    const other = `HTTP ${answer.status}, and not as the control plane answers`;
    const failed = new ApiError(answer.status, content?.error_code ?? "UNKNOWN", content?.message ?? other);
    if (answer.status === 401 && key && key === session.value.key) {
        signOut("This key is not accepted any more. Sign in again to go on where you were.");
    }
    throw failed;
}

export const get = async (path, query, options) => (await request("GET", path, { query, ...options })).content;
export const post = async (path, body = {}) => (await request("POST", path, { body })).content;
export const patch = async (path, body) => (await request("PATCH", path, { body })).content;
export const remove = async (path, query) => (await request("DELETE", path, { query })).content;

export const whoami = (key) => get("whoami", {}, { key });

/** A segment of a path. What workers name may be a step up in it, and that no encoding hides from a URL. */
export function segment(text) {
    if (text === "." || text === "..") throw new ApiError(404, "NOT_FOUND", `Nothing can be asked about ${text}.`);
    return encodeURIComponent(text);
}

/** Every page of a list, up to `most` entries; `more` says whether there are others. */
export async function all(path, name, { query = {}, signal, most = 2000 } = {}) {
    const found = [];
    let next_token = null;
    do {
        const page = await get(path, { ...query, limit: 200, next_token }, { signal });
        found.push(...page[name]);
        next_token = page.next_token;
    } while (next_token && found.length < most);
    return { [name]: found, more: next_token !== null };
}

const OPEN = ["queued", "sent", "accepted", "running"];
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** What a worker answers, however long it takes. `watch` is told each state of an operation that is waited for. */
export async function fromWorker(method, path, { query, body, signal, watch = () => {} } = {}) {
    const { key } = session.value;
    const { status, content } = await request(method, path, { query, body, signal });
    if (status !== 202) return content;
    let operation = content;
    while (OPEN.includes(operation.status)) {
        watch(operation);
        await pause(1000);
        if (session.value.key !== key) throw new DOMException("Whoever asked has signed out.", "AbortError");
        operation = await get(`operations/${segment(content.operation_id)}`, {}, { signal });
    }
    if (operation.status === "succeeded") return operation.output;
    const why = operation.message ?? `the operation is ${operation.status}`;
    throw new ApiError(502, operation.error_code ?? operation.status.toUpperCase(), why);
}
