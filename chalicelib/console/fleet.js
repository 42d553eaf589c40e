// The fleet: every worker with its GPUs.
import { html, useMemo, useState } from "./vendor/preact.js";
import { Attention } from "./conditions.js";
import { isKnown, memory, memoryOf, percent, plural } from "./format.js";
import { FOREIGN, Swatch, holders } from "./models.js";
import { MemoryBar, Meters, byModel, devices, shortName } from "./gpus.js";
import { Invitation } from "./join.js";
import { usePoll } from "./poll.js";
import { to } from "./router.js";
import { may } from "./session.js";
import { fleet } from "./snapshot.js";
import { memoInView } from "./state.js";
import { Ago, Empty, Icon, Labels, Loaded, Status } from "./ui.js";

const EVERY = 5; // seconds

export function gpuNames(info) {
    const counted = new Map();
    for (const name of info.devices.map(shortName)) counted.set(name, (counted.get(name) ?? 0) + 1);
    const names = [...counted].map(([name, count]) => `${count} × ${name}`);
    return names.join(", ") || (info.count ? plural(info.count, "GPU") : "no GPU");
}

export function Fleet() {
    const found = usePoll("fleet", fleet, EVERY);
    const [filter, setFilter] = useState("");
    return html`<${Loaded} from=${found}>${(data) => {
        const models = holders(data.deployments);
        if (!data.workers.length) return html`<${Nobody} />`;
        const wanted = filter.trim().toLowerCase();
        const shown = wanted ? data.workers.filter((worker) => matches(worker, wanted, models)) : data.workers;
        return html`<div class="page fleet">
            <header class="page-head"><h1 tabindex="-1">Fleet</h1>
                <input class="filter" type="search" data-filter placeholder="Filter by name, label, GPU, model"
                    aria-label="Filter workers" value=${filter} onInput=${(event) => setFilter(event.target.value)} />
                ${may("operator") && html`
                    <a class="button" href=${to("access")}><${Icon} name="plus" />Add a worker</a>
                `}
            </header>
            <${Summary} workers=${data.workers} models=${models} deployments=${data.deployments} />
            <p class="sr-only" role="status">${wanted ? `${plural(shown.length, "worker")} match` : ""}</p>
            <ul class="workers">
                ${shown.map((worker) => html`<${Row} key=${worker.worker_id} worker=${worker} models=${models} />`)}
            </ul>
            ${!shown.length && html`<p class="waiting">No worker matches “${filter}”.</p>`}
            ${data.more && html`<p class="waiting">The first ${plural(data.workers.length, "worker")} are shown.</p>`}
        </div>`;
    }}<//>`;
}

function matches(worker, wanted, models) {
    const texts = [worker.name, worker.status, worker.hostname, gpuNames(worker.gpu_info)];
    for (const [name, value] of Object.entries(worker.labels)) texts.push(`${name}=${value}`);
    texts.push(...worker.conditions.map(({ type }) => type));
    for (const id of Object.values(worker.gpu_claims)) texts.push(models[id]?.name ?? "", models[id]?.model ?? "");
    return texts.some((text) => text.toLowerCase().includes(wanted));
}

const Nobody = () =>
    html`<div class="page"><header class="page-head"><h1 tabindex="-1">Fleet</h1></header>
        <${Empty} title="No worker yet">
            <p>A worker is a machine with GPUs that runs Muster’s agent. It calls in over HTTPS, so it may be anywhere.</p>
            ${may("operator") ? html`<${Invitation} />` : html`<p>An operator can add one.</p>`}
        <//>
    </div>`;

function Summary({ workers, models, deployments }) {
    const sums = useMemo(() => {
        const live = workers.filter((worker) => worker.status !== "offline");
        const found = live.flatMap((worker) => devices(worker, models));
        // Of what is unknown there is no sum: a GPU without these figures counts in none of them.
        const sized = found.filter((device) => device.total && isKnown(device.used));
        const total = sized.reduce((sum, device) => sum + device.total, 0);
        const used = sized.reduce((sum, device) => sum + device.used, 0);
        const loads = found.map((device) => device.utilization).filter(isKnown);
        const load = loads.length ? loads.reduce((sum, figure) => sum + figure, 0) / loads.length : found.length ? null : 0;
        return { live, found, total, used, load, parts: byModel(sized), held: found.filter((device) => device.claim).length };
    }, [workers, models]);
    const running = deployments.filter((deployment) => deployment.status === "running" && deployment.reachable).length;
    const failed = deployments.filter((deployment) => deployment.status === "error").length;
    const label = `GPU memory of the fleet: ${memory(sums.used)} of ${memory(sums.total)}`;
    return html`<section class="summary" aria-label="Summary">
        <dl>
            <div><dt>Workers online</dt><dd>${sums.live.length}<small> of ${workers.length}</small></dd></div>
            <div><dt>GPUs held</dt><dd>${sums.held}<small> of ${sums.found.length}</small></dd></div>
            <div><dt>GPU memory</dt><dd>${sums.found.length > 0 && !sums.total
                ? "unknown"
                : html`${memory(sums.used)}<small> of ${memory(sums.total)}</small>`}</dd></div>
            <div><dt>Busy</dt><dd>${isKnown(sums.load) ? percent(sums.load) : "unknown"}</dd></div>
            <div>
                <dt>Models running</dt>
                <dd>
                    <a href=${to("deployments")}>
                        ${running}
                        <small> of ${deployments.length}</small>
                        ${failed > 0 && html`<small class="bad"> ${failed} failed</small>`}
                    </a>
                </dd>
            </div>
        </dl>
        ${sums.total > 0 && html`<${MemoryBar} parts=${sums.parts} total=${sums.total} label=${label} />
            <ul class="legend">
                ${sums.parts.map((part) => html`
                    <li key=${part.of.model}>
                        <${Swatch} of=${part.of} />
                        <span class="clip">${part.of.model}</span>
                        <small>${memory(part.bytes)}</small>
                    </li>
                `)}
                <li>
                    <i class="swatch free" aria-hidden="true">
                    </i>Free<small>
                        ${memory(Math.max(0, sums.total - sums.used))}
                    </small>
                </li>
                <li class="key">
                    <span class="meter" aria-hidden="true">
                        <span class="fill"><span class="part"></span></span>
                        <span class="load"><span></span></span>
                    </span>One GPU: its memory, and how busy it is</li>
            </ul>`}
    </section>`;
}

/** Unknown where one of them is, or there are none. */
const sumOf = (figures) => (figures.length && figures.every(isKnown) ? figures.reduce((sum, figure) => sum + figure, 0) : null);

const Row = memoInView(({ worker, models }, look) => {
    const deployed = [...new Set(Object.values(worker.gpu_claims))].map((id) => models[id]).filter(Boolean);
    const used = sumOf(worker.gpu_usage.map((gpu) => gpu.memory_used));
    const total = sumOf(worker.gpu_info.devices.map((device) => device.memory_total || null));
    const held = new Set(Object.keys(worker.gpu_claims).map(Number));
    const foreign = worker.gpu_usage.some((gpu) => !held.has(gpu.index) && gpu.memory_used > 1024 ** 3);
    return html`<li class="worker is-${worker.status}" ...${look}>
        <div class="who">
            <h2>
                <a href=${to("workers", worker.worker_id)} data-row>${worker.name}</a>
                ${worker.status !== "online" && html`<${Status} is=${worker.status} />`}
                <${Attention} of=${worker.conditions} />
            </h2>
            <p class="muted">${gpuNames(worker.gpu_info)}</p>
            ${Object.keys(worker.labels).length > 0 && html`<p class="labels"><${Labels} of=${worker.labels} /></p>`}
        </div>
        <${Meters} usage=${worker.gpu_usage} info=${worker.gpu_info} claims=${worker.gpu_claims} holders=${models}
            label=${`GPUs of ${worker.name}`} />
        <ul class="whose-list">
            ${deployed.slice(0, 3).map((deployment) => html`
                <li key=${deployment.name}><${Swatch} of=${deployment} /><span class="clip">${deployment.name}</span></li>
            `)}
            ${deployed.length > 3 && html`<li class="muted">and ${deployed.length - 3} more</li>`}
            ${foreign && html`<li><${Swatch} of=${FOREIGN} /><span class="muted">outside Muster</span></li>`}
        </ul>
        <div class="pulse">
            ${worker.gpu_info.devices.length > 0 && html`<span>${memoryOf(used, total)}</span>`}
            <small class="muted">
                ${worker.status === "offline" ? html`seen <${Ago} at=${worker.last_seen} />` : "online"}
            </small>
        </div>
    </li>`;
});
