// The whole fleet, kept here and brought up to date by what changed (GET /api/fleet): of what did not, nothing is sent.
import { get } from "./api.js";
import { toneOf } from "./models.js";
import { session } from "./session.js";

const MOST = 2000; // entries of a list that are shown

let token, workers, deployments, shown;

function forget() {
    [token, workers, deployments, shown] = [null, new Map(), new Map(), null];
}

forget();
session.follow(() => session.value.key === null && forget());

/**
 * `{workers, deployments, more, moreDeployments}`: workers by name, deployments as they were made, as many as are shown.
 * The same object as before where nothing changed. `fresh`: as of now, for after an action.
 */
export async function fleet(signal, fresh = false) {
    const { key } = session.value;
    const found = await get("fleet", { since: token, fresh: fresh || null }, { signal });
    if (session.value.key !== key) throw new DOMException("Whoever asked has signed out.", "AbortError");
    if (shown && found.token === token) return shown;
    if (found.full) forget();
    take(workers, found.workers, "worker_id", found.gone_workers);
    take(deployments, found.deployments, "deployment_id", found.gone_deployments);
    token = found.token;
    return (shown = lists());
}

function take(rows, changed, id, gone) {
    for (const row of changed) rows.set(row[id], row);
    for (const key of gone) rows.delete(key);
}

function lists() {
    const byName = [...workers.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    const made = [...deployments.values()].sort((one, other) => Date.parse(one.created_at) - Date.parse(other.created_at));
    for (const deployment of made) toneOf(deployment.model);
    return {
        workers: byName.slice(0, MOST),
        deployments: made.slice(0, MOST),
        more: byName.length > MOST,
        moreDeployments: made.length > MOST,
    };
}
