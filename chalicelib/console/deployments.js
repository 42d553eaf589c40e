// Every deployment, how far it is, and what to do about those that failed.
import { html, useState } from "./vendor/preact.js";
import { get, patch, post, remove, segment } from "./api.js";
import { Attention } from "./conditions.js";
import { gpuList, loopText, plural, written } from "./format.js";
import { Dots, LIVE } from "./lifecycle.js";
import { Swatch, toneOf } from "./models.js";
import { usePoll } from "./poll.js";
import { leave, to } from "./router.js";
import { may } from "./session.js";
import { fleet } from "./snapshot.js";
import { Progress } from "./storage.js";
import { Ago, Button, Empty, Icon, Loaded, Status, ask, say } from "./ui.js";

const load = async (signal, fresh) => {
    const { deployments, workers, moreDeployments } = await fleet(signal, fresh);
    const names = Object.fromEntries(workers.map((worker) => [worker.worker_id, worker.name]));
    return { deployments: deployments.slice().reverse(), more: moreDeployments, workers: names };
};

export function Deployments() {
    const found = usePoll("deployments", load, 3);
    const [filter, setFilter] = useState("");
    return html`<${Loaded} from=${found}>${({ deployments, workers, more }) => {
        if (!deployments.length) return html`<${Nothing} />`;
        const wanted = filter.trim().toLowerCase();
        const shown = deployments.filter((deployment) =>
            [deployment.name, deployment.model, deployment.status, deployment.error_code, workers[deployment.worker_id]].some((text) =>
                text?.toLowerCase().includes(wanted),
            ),
        );
        return html`<div class="page">
            <header class="page-head"><h1 tabindex="-1">Deployments</h1>
                <input class="filter" type="search" data-filter placeholder="Filter by name, model, state, worker"
                    aria-label="Filter deployments" value=${filter}
                    onInput=${(event) => setFilter(event.target.value)} />
                ${may("operator") && html`
                    <a class="button primary" href=${to("deploy")}><${Icon} name="plus" />Deploy a model</a>
                `}
            </header>
            <p class="sr-only" role="status">${wanted ? `${plural(shown.length, "deployment")} match` : ""}</p>
            <ul class="deployments">
                ${shown.map((deployment) => html`
                    <${Row} key=${deployment.deployment_id} deployment=${deployment} worker=${workers[deployment.worker_id]}
                        again=${found.again} />
                `)}
            </ul>
            ${more && html`<p class="waiting">The first ${plural(deployments.length, "deployment")} are shown.</p>`}
            ${!shown.length && html`<p class="waiting">No deployment matches “${filter}”.</p>`}
        </div>`;
    }}<//>`;
}

const Nothing = () =>
    html`<div class="page"><header class="page-head"><h1 tabindex="-1">Deployments</h1></header>
        <${Empty} title="Nothing is deployed">
            <p>A deployment is one model that runs on one worker. Say which model; a worker with free GPUs is found for it.</p>
            ${may("operator")
                ? html`<p><a class="button primary" href=${to("deploy")}><${Icon} name="plus" />Deploy a model</a></p>`
                : html`<p>An operator can deploy one.</p>`}
        <//>
    </div>`;

const Row = ({ deployment, worker, again }) => {
    const { deployment_id, name, model, gpus, gpu_indexes, created_at } = deployment;
    const { status, desired, message, error_code, progress, reachable, conditions, crash_loop: loop } = deployment;
    const going = desired === "stopped" && !["stopped", "error", "stopping"].includes(status) ? "to be stopped" : "";
    return html`<li class="deployment is-${status}">
        <div class="who">
            <h2><a href=${to("deployments", deployment_id)} data-row>${name}</a></h2>
            <p class="muted model">
                <${Swatch} of=${{ tone: `tone-${toneOf(model)}` }} />
                <span class="clip">${model}</span>
            </p>
        </div>
        <div class="how">
            <p>
                <${Status} is=${status} />
                <${Dots} status=${status} />
                ${!reachable && html`<span class="warn">worker silent</span>`}
                ${loop && html`<span class="warn">${loopText(loop)}</span>`}
                <${Attention} of=${conditions} />
                ${going && html`<span class="muted">${going}</span>`}
            </p>
            ${progress ? html`<${Progress} of=${progress} />`
                : status === "error" ? html`<p class="clip-2"><b>${error_code}</b> ${message}</p>`
                : status !== "running" && message ? html`<p class="muted clip-2">${message}</p>` : null}
            ${(status === "error" || loop) && fixOf(deployment) && may("operator") && html`
                <p class="fixline">
                    <code>${fixText(deployment).join(", ")}</code>
                    <${Retry} deployment=${deployment} again=${again} kind="small primary" />
                </p>
            `}
        </div>
        <div class="pulse">
            <span>${worker ?? (deployment.worker_id ? "an unknown worker" : "no worker yet")}</span>
            <small class="muted">
                ${gpu_indexes.length && worker ? gpuList(gpu_indexes) : gpusText(gpus)} · <${Ago} at=${created_at} />
            </small>
        </div>
    </li>`;
};

export const gpusText = (gpus) => (Array.isArray(gpus) ? gpuList(gpus) : gpus === 0 ? "no GPU" : plural(gpus, "GPU"));

// A crash's fix: the change that would let it run, as the agent worked it out

export function fixOf({ last_crash }) {
    const fix = last_crash?.fix;
    return fix && (Object.keys({ ...fix.config, ...fix.env }).length || fix.gpus) ? fix : null;
}

/** `name before → after`, one for each change. Of a variable that is set nobody can read the value. */
export function fixText({ last_crash, config, gpus, env }) {
    const { fix } = last_crash;
    const before = (name) => (Object.hasOwn(config, name) ? written(config[name]) : "unset");
    const lines = Object.entries(fix.config ?? {}).map(([name, value]) => `${name} ${before(name)} → ${written(value)}`);
    const variables = Object.entries(fix.env ?? {}).map(
        ([name, value]) => `${name} ${env.includes(name) ? "set" : "unset"} → ${value}`,
    );
    return [...lines, ...(fix.gpus ? [`gpus ${written(gpus)} → ${fix.gpus}`] : []), ...variables];
}

export function Retry({ deployment, again, kind }) {
    const { deployment_id, name, config, desired, last_crash } = deployment;
    const { fix } = last_crash;
    const retry = async () => {
        const path = `deployments/${segment(deployment_id)}`;
        await patch(path, {
            ...(fix.config && { config: { ...config, ...fix.config } }),
            ...(fix.gpus && { gpus: fix.gpus }),
            ...(fix.env && { add_env: fix.env }),
        });
        if (desired === "stopped") await post(`${path}/start`);
        say(`${name} is tried again with the fix`);
        again();
    };
    return html`<${Button} kind=${kind} act=${retry}>Retry with it<//>`;
}

// What one does with a deployment

export function Actions({ deployment, again }) {
    const { deployment_id, name, status, desired } = deployment;
    const path = `deployments/${segment(deployment_id)}`;
    const act = (verb, said) => async () => {
        await post(`${path}/${verb}`);
        say(`${name} ${said}`);
        again();
    };
    const forget = async () => {
        const what = "Its settings and timeline are forgotten. Weights and images stay on the worker.";
        if (!(await ask(`Delete ${name}?`, what, "Delete"))) return;
        await leave(`Deleting ${name} …`, () => remove(path), "deployments");
        say(`${name} is deleted`);
    };
    const stop = async () => {
        const what = "Its clients get no answers any more, and its GPUs become free.";
        if (await ask(`Stop ${name}?`, what, "Stop")) await act("stop", "is being stopped")();
    };
    const wanted = desired === "running" && LIVE.includes(status);
    return html`<div class="actions">
        ${wanted
            ? html`<${Button} act=${stop}>Stop<//><${Button} act=${act("restart", "is restarted")}>Restart<//>`
            : html`
            <${Button} kind=${fixOf(deployment) ? "" : "primary"} act=${act("start", "is started")}>
                ${status === "error" ? "Try again" : "Start"}
            <//>
        `}
        <a class="button" href=${to("deployments", deployment_id, "change")}>Change</a>
        ${!LIVE.includes(status) && html`<${Button} kind="danger quiet" act=${forget}>Delete<//>`}
    </div>`;
}

/** A worker that was removed is none. */
const gone = (error) => {
    if (error.status !== 404) throw error;
    return null;
};

export const loadOne = async (id, signal) => {
    const path = `deployments/${segment(id)}`;
    const [deployment, { events }] = await Promise.all([
        get(path, {}, { signal }),
        get(`${path}/events`, { limit: 100 }, { signal }),
    ]);
    const { worker_id } = deployment;
    const worker = worker_id && (await get(`workers/${segment(worker_id)}`, {}, { signal }).catch(gone));
    return { deployment, events, worker };
};
