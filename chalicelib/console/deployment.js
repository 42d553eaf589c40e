// One deployment: its life, its crash, where it answers, its log as it grows, and its timeline.
import { html } from "./vendor/preact.js";
import { ahead } from "./api.js";
import { Actions, Retry, fixOf, fixText, gpusText, loadOne } from "./deployments.js";
import { Conditions } from "./conditions.js";
import { chatRequest } from "./curl.js";
import { clock, date, gpuList, loopText, plain, written } from "./format.js";
import { LIVE, Lifecycle } from "./lifecycle.js";
import { Log } from "./logs.js";
import { Swatch, toneOf } from "./models.js";
import { usePoll } from "./poll.js";
import { to } from "./router.js";
import { may } from "./session.js";
import { Progress } from "./storage.js";
import { Ago, Copy, Facts, Icon, Labels, Loaded, Snippet, Status } from "./ui.js";

/** What it says of itself, where that is more than its state and its crash say. */
const spoken = ({ message, status, last_crash }) => status !== "running" && message !== last_crash?.message && message;

export function Deployment({ id }) {
    const found = usePoll(`deployment ${id}`, (signal) => loadOne(id, signal), 2);
    return html`<${Loaded} from=${found}>${({ deployment, events, worker }) =>
        html`<div class="page">
            <header class="page-head">
                <div>
                    <p class="crumb"><a href=${to("deployments")}><${Icon} name="back" />Deployments</a></p>
                    <h1 tabindex="-1">${deployment.name} <${Status} is=${deployment.status} /></h1>
                    <p class="muted model">
                        <${Swatch} of=${{ tone: `tone-${toneOf(deployment.model)}` }} />
                        <span>
                            ${deployment.model}
                            ${worker && html` on <a href=${to("workers", worker.worker_id)}>${worker.name}</a>`}
                        </span>
                    </p>
                </div>
                ${may("operator") && html`<${Actions} deployment=${deployment} again=${found.again} />`}
            </header>
            ${!deployment.reachable && html`
                <p class="banner">
                    Its worker is silent: this is as it was <${Ago} at=${deployment.status_as_of} />. It may well go on.
                </p>
            `}
            ${deployment.desired === "stopped" && LIVE.includes(deployment.status) && html`
                <p class="banner">It is to be stopped as soon as its worker calls in.</p>
            `}
            <section class="life" aria-label="How far it is" aria-live="polite">
                <${Lifecycle} deployment=${deployment} events=${events} now=${Date.now() + ahead} />
                ${deployment.progress && LIVE.includes(deployment.status) && html`
                    <${Progress} of=${deployment.progress} />
                `}
                ${spoken(deployment) && html`<p class="muted">${spoken(deployment)}</p>`}
            </section>
            ${deployment.crash_loop && html`
                <p class="banner">
                    ${loopText(deployment.crash_loop)}.
                    ${deployment.crash_loop.times >= 10 && " It does not heal, so each wait is longer: Restart starts it at once."}
                </p>
            `}
            <${Conditions} of=${deployment.conditions} title="Held up by" />
            <${Crash} deployment=${deployment} again=${found.again} />
            <div class="columns">
                <div>
                    <${Endpoint} deployment=${deployment} worker=${worker} />
                    <${Log} key=${`${deployment.deployment_id} ${deployment.generation} ${deployment.worker_id}`}
                        deployment=${deployment} />
                </div>
                <div>
                    <${Settings} deployment=${deployment} />
                    <${Timeline} events=${events} />
                </div>
            </div>
        </div>`}<//>`;
}

/** The last crash: in full while it matters, else one line. */
function Crash({ deployment, again }) {
    const { last_crash: crash, status } = deployment;
    if (!crash) return null;
    const fix = fixOf(deployment);
    const report = html`<p>${crash.message}</p>
        ${fix && html`
            <div class="fix">
                <div>
                    <h3>Suggested fix</h3>
                    <ul>${fixText(deployment).map((line) => html`<li><code>${line}</code></li>`)}</ul>
                </div>
                ${may("operator") && html`<${Retry} deployment=${deployment} again=${again} kind="primary" />`}
            </div>
        `}
        ${crash.logs && html`
            <details>
                <summary>The end of its log</summary>
                <pre class="log" tabindex="0">${plain(crash.logs)}</pre>
            </details>
        `}
    `;
    if (status === "running" || status === "stopped") {
        return html`
            <details class="past-crash">
                <summary>It crashed <${Ago} at=${crash.at} />: ${crash.error_code}</summary>
                ${report}
            </details>
        `;
    }
    return html`<section class="crash" aria-labelledby="crash">
        <header class="section-head">
            <h2 id="crash">${crash.error_code}</h2>
            <small class="muted">
                <${Ago} at=${crash.at} />
                ${deployment.restarts > 0 && ` · restarted ${deployment.restarts} times`}
            </small>
        </header>
        ${report}
    </section>`;
}

function Endpoint({ deployment, worker }) {
    const { endpoint, api_key, served_model_name, endpoint_problem } = deployment;
    if (deployment.status !== "running" && deployment.serving_generation === null) return null;
    if (!endpoint) {
        const where = worker ? `${worker.name} gave no address` : "its worker gave no address";
        const why = endpoint_problem ?? `It answers on its machine alone, at port ${deployment.port}: ${where}.`;
        return html`
            <section>
                <h2>Endpoint</h2>
                <p class="muted">${why}</p>
            </section>
        `;
    }
    return html`<section aria-labelledby="endpoint"><h2 id="endpoint">Endpoint</h2>
        ${deployment.serving_generation !== deployment.generation && html`
            <p class="muted">The instance before serves until the change is ready.</p>
        `}
        <dl class="lines">
            <div><dt>URL</dt><dd><code>${endpoint}</code><${Copy} text=${endpoint} what="the endpoint" /></dd></div>
            <div>
                <dt>Model</dt>
                <dd><code>${served_model_name}</code><${Copy} text=${served_model_name} what="the model’s name" /></dd>
            </div>
            ${api_key && html`
                <div>
                    <dt>API key</dt>
                    <dd><code>${api_key.slice(0, 4)}…</code><${Copy} text=${api_key} what="the model’s API key" /></dd>
                </div>
            `}
        </dl>
        <${Snippet} text=${chatRequest(endpoint, served_model_name)} what="a request with curl" />
    </section>`;
}

function Settings({ deployment }) {
    const { config, env, image, gpus, gpu_indexes, selector, restart, restarts, created_at, port } = deployment;
    return html`<section aria-labelledby="settings"><h2 id="settings">Settings</h2>
        <${Facts} of=${{
            GPUs: gpu_indexes.length ? gpuList(gpu_indexes) : gpusText(gpus),
            Image: image ?? "the worker’s default",
            Where: Object.keys(selector).length > 0 && html`<${Labels} of=${selector} />`,
            Restart: restart === "never" ? "never" : `on failure${restarts ? `, ${restarts} so far` : ""}`,
            Environment: env.join(", "),
            Port: port,
            Made: date(created_at),
        }} />
        <h3>config</h3>
        ${Object.keys(config).length
            ? html`
                <dl class="config">
                    ${Object.entries(config).map(([name, value]) => html`
                        <div key=${name}><dt><code>${name}</code></dt><dd><code>${written(value)}</code></dd></div>
                    `)}
                </dl>
            `
            : html`<p class="muted">vLLM’s defaults.</p>`}
    </section>`;
}

const Timeline = ({ events }) =>
    html`<section aria-labelledby="timeline"><h2 id="timeline">Timeline</h2>
        <ol class="timeline" tabindex="0" aria-label="Timeline">
            ${events.map((event) => html`
                <li key=${`${event.at} ${event.type}`} class="is-${event.type.replace(/[^a-z_]/g, "")}">
            <i aria-hidden="true"></i>
            <div><b>${event.type}</b> <time datetime=${event.at} title=${date(event.at)}>${clock(event.at)}</time>
            <p>${event.message}</p>
            <small class="muted">${event.by.replace(/^worker [0-9a-f-]{36}$/, "its worker")}</small>
        </div>
        </li>`)}</ol>
    </section>`;
