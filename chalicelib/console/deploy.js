// The form that deploys a model, and the same form for what is to change of a deployment.
import { html, useRef, useState } from "./vendor/preact.js";
import { get, patch, post, segment } from "./api.js";
import { Field, KINDS, KNOWN, Rows, belongs, focusWrong, kindOf, read } from "./fields.js";
import { gpuNames } from "./fleet.js";
import { devices, shortName } from "./gpus.js";
import { written } from "./format.js";
import { usePoll } from "./poll.js";
import { go, to } from "./router.js";
import { Icon, Loaded, say } from "./ui.js";
import { workersList } from "./worker.js";

const FIELDS = ["model", "name", "gpus", "worker_id", "selector", "image", "config", "env", "restart"];

export const Deploy = () => html`<${Form} title="Deploy a model" />`;

export function Change({ id }) {
    const found = usePoll(`change ${id}`, (signal) => get(`deployments/${segment(id)}`, {}, { signal }), 0, { fresh: true });
    return html`
        <${Loaded} from=${found}>
            ${(deployment) => html`<${Form} title=${`Change ${deployment.name}`} old=${deployment} />`}
        <//>
    `;
}

/** What placement would find just now: devices that neither Muster nor anything else holds. */
function freeNow(workers) {
    const places = [];
    for (const worker of workers.filter((candidate) => candidate.status === "online")) {
        const free = devices(worker, {}).filter((device) => !device.claim && !device.lost && !device.parts.length);
        if (free.length) places.push(`${free.length} × ${shortName(free[0])} on ${worker.name}`);
    }
    if (!places.length) return "No GPU is free just now: it would wait for one.";
    return `Free now: ${places.slice(0, 5).join(", ")}${places.length > 5 ? ` and on ${places.length - 5} more workers` : ""}.`;
}

function begin(old) {
    const row = ([name, value]) => ({ id: name, name, kind: kindOf(value), value: written(value) });
    const config = Object.entries(old?.config ?? {}).map(row);
    return {
        model: old?.model ?? "",
        name: old?.name ?? "",
        gpus: old ? [old.gpus].flat().join(", ") : "1",
        byIndex: Array.isArray(old?.gpus),
        where: "anywhere",
        worker_id: "",
        selector: "",
        image: old?.image ?? "",
        config: old ? config : [{ id: 0, name: "max_model_len", kind: "number", value: "" }],
        env: [],
        replaceEnv: !old,
        restart: "on-failure",
    };
}

/** The request's body. Throws {field: what is wrong}. */
function body(form, old) {
    const wrong = {};
    const config = {};
    for (const { name, kind, value } of form.config.filter((row) => row.name && (row.value !== "" || row.kind === "text"))) {
        try {
            config[name.trim().replace(/^--/, "").replaceAll("-", "_")] = read(kind, value);
        } catch (error) {
            wrong.config = `${name}: ${error.message}`;
        }
    }
    const numbers = form.gpus.split(",").map((part) => Number(part.trim()));
    const gpus = form.byIndex ? numbers : numbers[0];
    if (form.gpus.trim() === "" || !numbers.every(Number.isInteger)) {
        wrong.gpus = form.byIndex ? "expected indexes, such as 0, 1" : "expected a whole number";
    }
    if (form.where === "worker" && !form.worker_id) wrong.worker_id = "expected a worker";
    const selector = {};
    for (const line of form.selector.split(/[\n,]/).map((part) => part.trim()).filter(Boolean)) {
        const [name, ...value] = line.split("=");
        if (!value.length) wrong.selector = `${name}: expected name=value`;
        selector[name.trim()] = value.join("=").trim();
    }
    if (Object.keys(wrong).length) throw wrong;
    const pair = ({ name, value, fromHost }) => [name, fromHost ? { from_host: true } : value];
    const env = Object.fromEntries(form.env.filter((row) => row.name).map(pair));
    const common = { config, gpus, image: form.image.trim() || null, ...(form.replaceEnv && { env }) };
    if (form.where === "worker") common.worker_id = form.worker_id;
    if (old) return common;
    return {
        ...common,
        model: form.model.trim(),
        ...(form.name.trim() && { name: form.name.trim() }),
        ...(form.where === "labels" && { selector }),
        restart: form.restart,
    };
}

function Form({ title, old }) {
    const [form, setForm] = useState(() => begin(old));
    const [wrong, setWrong] = useState({});
    const [busy, setBusy] = useState(false);
    const element = useRef();
    const set = (more) => setForm((before) => ({ ...before, ...more }));
    const text = (name) => ({
        value: form[name],
        onInput: (event) => set({ [name]: event.target.value }),
        autocomplete: "off",
        spellcheck: false,
    });

    const submit = async (event) => {
        event.preventDefault();
        setBusy(true);
        try {
            const wanted = body(form, old);
            const path = old && `deployments/${segment(old.deployment_id)}`;
            const made = await (old ? patch(path, wanted) : post("deployments", wanted));
            say(old ? `${made.name} is changed` : `${made.name} is deployed`);
            go("deployments", made.deployment_id);
        } catch (error) {
            setWrong(error instanceof Error ? belongs(error, FIELDS) : error);
            setBusy(false);
            focusWrong(element.current);
        }
    };
    const back = old ? to("deployments", old.deployment_id) : to("deployments");
    const shared = { form, set, text, wrong, old };

    return html`<div class="page narrow">
        <header class="page-head"><div>
            <p class="crumb"><a href=${back}><${Icon} name="back" />${old ? old.name : "Deployments"}</a></p>
            <h1 tabindex="-1">${title}</h1>
            ${old && html`<p class="muted">${REPLACES}</p>`}
        </div></header>
        <form ref=${element} class="form" onSubmit=${submit} novalidate>
            ${!old && html`<${What} ...${shared} />`}
            <${Gpus} ...${shared} />
            <${Where} ...${shared} />
            <${Flags} ...${shared} />
            <${Environment} ...${shared} />
            <${More} ...${shared} />
            ${wrong.form && html`<p class="wrong" role="alert">${wrong.form}</p>`}
            <div class="actions">
                <button class="primary" type="submit" disabled=${busy}>${old ? "Change it" : "Deploy"}</button>
                <a class="button" href=${back}>Cancel</a>
            </div>
        </form>
    </div>`;
}

const REPLACES = "What runs is replaced by what is set here; a stopped deployment has it for its next start.";

const What = ({ text, wrong }) => html`
    <${Field} name="model" title="Model" wrong=${wrong} wide
        hint="A model of the Hugging Face hub, or a folder below the worker’s model root">
        ${(input) => html`
            <input ...${input} ...${text("model")} placeholder="Qwen/Qwen3-0.6B" required autofocus />
        `}
    <//>
    <${Field} name="name" title="Name" wrong=${wrong} hint="Made from the model’s where it is left empty">
        ${(input) => html`<input ...${input} ...${text("name")} placeholder="qwen" />`}
    <//>`;

const Gpus = ({ form, set, text, wrong }) => html`
    <${Field} name="gpus" title="GPUs" wrong=${wrong}
        hint=${form.byIndex ? "Which devices, such as 0, 1" : "How many; 0 for none"}>
        ${(input) => html`
            <div class="pair">
                <input ...${input} ...${text("gpus")} inputmode="numeric" />
                <select aria-label="How GPUs are given" value=${form.byIndex ? "indexes" : "count"}
                    onChange=${(event) => set({ byIndex: event.target.value === "indexes" })}>
                    <option value="count">any</option>
                    <option value="indexes">by index</option>
                </select>
            </div>
        `}
    <//>`;

function Where({ form, set, text, wrong, old }) {
    const { data } = usePoll("workers", workersList, 0);
    const radio = (value, label) => html`
        <label class="choice">
            <input type="radio" name="where" checked=${form.where === value} onChange=${() => set({ where: value })} />
            ${label}
        </label>`;
    return html`<fieldset class="field wide"><legend>Where</legend>
        <div class="choices">
            ${radio("anywhere", old ? "Where it is, or wherever it fits" : "Wherever it fits")}
            ${radio("worker", "On one worker")}
            ${!old && radio("labels", "By labels")}
        </div>
        ${form.where === "anywhere" && data && html`<small class="muted">${freeNow(data.workers)}</small>`}
        ${form.where === "worker" && html`
            <${Field} name="worker_id" title="Worker" wrong=${wrong}>
                ${(input) => html`
                    <select ...${input} value=${form.worker_id}
                        onChange=${(event) => set({ worker_id: event.target.value })}>
                        <option value="">Choose one</option>
                        ${data?.workers.map(choice)}
                    </select>
                `}
            <//>
        `}
        ${form.where === "labels" && html`
            <${Field} name="selector" title="Labels that it must have" hint="name=value, one a line" wrong=${wrong}>
                ${(input) => html`<textarea ...${input} ...${text("selector")} rows="2"></textarea>`}
            <//>
        `}
    </fieldset>`;
}

const choice = ({ worker_id, name, gpu_info, status }) =>
    html`<option key=${worker_id} value=${worker_id}>${name} (${gpuNames(gpu_info)}, ${status})</option>`;

/** How a row is spoken of. */
const called = (row, at) => row.name || `row ${at + 1}`;

const Flags = ({ form, set, wrong }) => html`
    <${Rows} name="config" title="config: vLLM’s flags" rows=${form.config} setRows=${(config) => set({ config })}
        names="flags" wrong=${wrong} fresh=${{ name: "", kind: "text", value: "" }} cells=${flag} />
    <datalist id="flags">${Object.keys(KNOWN).map((name) => html`<option value=${name}></option>`)}</datalist>`;

function flag(row, change, at) {
    const label = `Value of ${called(row, at)}`;
    const turn = ({ target: { value: kind } }) => change({ kind, value: kind === "switch" ? "true" : row.value });
    return html`
        <select value=${row.kind} aria-label=${`Kind of ${called(row, at)}`} onChange=${turn}>
            ${KINDS.map((kind) => html`<option value=${kind}>${kind}</option>`)}
        </select>
        ${row.kind === "switch"
            ? html`
                <select value=${String(row.value) === "false" ? "false" : "true"} aria-label=${label}
                    onChange=${(event) => change({ value: event.target.value })}>
                    <option value="true">on</option>
                    <option value="false">off</option>
                </select>`
            : html`
                <input class="mono" value=${row.value} placeholder="vLLM’s default" aria-label=${label}
                    inputmode=${row.kind === "number" ? "decimal" : null} autocomplete="off" spellcheck="false"
                    onInput=${(event) => change({ value: event.target.value })} />`}`;
}

const Environment = ({ form, set, wrong, old }) => html`
    ${old && html`
        <label class="choice">
            <input type="checkbox" checked=${form.replaceEnv}
                onChange=${(event) => set({ replaceEnv: event.target.checked })} />
            Replace the environment${old.env.length > 0 ? ` (it has ${old.env.join(", ")})` : ""}
        </label>
    `}
    ${form.replaceEnv && html`
        <${Rows} name="env" title="Environment: values cannot be read back" rows=${form.env}
            setRows=${(env) => set({ env })} wrong=${wrong} fresh=${{ name: "", value: "", fromHost: false }}
            cells=${variable} />
    `}`;

const variable = (row, change, at) => html`
    <select value=${row.fromHost ? "host" : "value"} aria-label=${`Source of ${called(row, at)}`}
        onChange=${(event) => change({ fromHost: event.target.value === "host" })}>
        <option value="value">value</option>
        <option value="host">the host’s own</option>
    </select>
    ${row.fromHost
        ? html`<span class="muted">as the agent has it</span>`
        : html`
            <input type="password" value=${row.value} aria-label=${`Value of ${called(row, at)}`} autocomplete="off"
                onInput=${(event) => change({ value: event.target.value })} />`}`;

const More = ({ form, set, text, wrong, old }) => html`
    <details class="field wide" open=${Boolean(wrong.image || form.image)}><summary>More</summary>
        <${Field} name="image" title="Image" hint="The worker’s default where it is left empty" wrong=${wrong}>
            ${(input) => html`<input ...${input} ...${text("image")} placeholder="vllm/vllm-openai:latest" />`}
        <//>
        ${!old && html`
            <${Field} name="restart" title="After a crash" wrong=${wrong}>
                ${(input) => html`
                    <select ...${input} value=${form.restart} onChange=${(event) => set({ restart: event.target.value })}>
                        <option value="on-failure">start it again</option>
                        <option value="never">leave it</option>
                    </select>
                `}
            <//>
        `}
    </details>`;
