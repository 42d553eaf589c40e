// The keys with which programs ask models at a gateway: what each key allows, and the dialog that creates one.
import { html, useRef, useState } from "./vendor/preact.js";
import { ahead, all, post, remove, segment } from "./api.js";
import { chatRequest } from "./curl.js";
import { Field, belongs, focusWrong } from "./fields.js";
import { count, date } from "./format.js";
import { gatewayList } from "./gateways.js";
import { usePoll } from "./poll.js";
import { fleet } from "./snapshot.js";
import { Ago, Button, Dialog, Icon, Loaded, Snippet, ask, say, useFirst } from "./ui.js";

/** A limit's name in the API to what it counts. */
const LIMITS = { rpm: "requests/minute", tpm: "tokens/minute", tpd: "tokens/day" };
const MOST_MODELS = 100;
const DAY = 86400; // seconds

export function CallerKeys() {
    const load = (signal) => all("api-keys", "api_keys", { query: { role: "caller" }, signal });
    const found = usePoll("caller keys", load, 10);
    const [creating, setCreating] = useState(false);
    return html`<section aria-labelledby="caller-keys">
        <header class="section-head">
            <h2 id="caller-keys">Caller keys</h2>
            <button class="small" onClick=${() => setCreating(true)}><${Icon} name="plus" />New caller key</button>
        </header>
        <${Loaded} from=${found}>${({ api_keys, more }) => html`
            ${api_keys.length === 0
                ? html`<p class="muted">None. A program needs one to ask models at a gateway.</p>`
                : html`<${Table} keys=${api_keys} again=${found.again} />`}
            ${more && html`<p class="waiting">Only the first ${count(api_keys.length)} keys are listed.</p>`}
        `}<//>
        ${creating && html`<${NewCallerKey} close=${() => (setCreating(false), found.again())} />`}
    </section>`;
}

function Table({ keys, again }) {
    const [shown, rest] = useFirst(keys, "key");
    return html`<div class="table"><table>
        <thead>
            <tr>
                <th>Name</th>
                <th>Models</th>
                <th>Limits</th>
                <th>Expires</th>
                <th>Created</th>
                <th><span class="sr-only">Actions</span></th>
            </tr>
        </thead>
        <tbody>${shown.map((key) => html`<${Row} key=${key.key_id} of=${key} again=${again} />`)}</tbody>
    </table></div>${rest}`;
}

function Row({ of, again }) {
    const { key_id, name, models = [], expires_at, created_at } = of;
    const revoke = async () => {
        if (!(await ask(`Revoke ${name}?`, "Gateways refuse the key within seconds.", "Revoke"))) return;
        await remove(`api-keys/${segment(key_id)}`);
        say(`${name} is revoked`);
        again();
    };
    const limits = Object.entries(LIMITS).filter(([limit]) => of[limit]);
    return html`<tr>
        <td data-name="Name"><span class="clip">${name}</span></td>
        <td data-name="Models"><${Models} of=${models} /></td>
        <td data-name="Limits">
            ${limits.length === 0
                ? html`<span class="muted">none</span>`
                : html`<span>${limits.map(([limit, words]) => html`
                    <span class="label" key=${limit}>${words}<b>${count(of[limit])}</b></span>
                `)}</span>`}
        </td>
        <td data-name="Expires">
            ${!expires_at ? "never" : Date.parse(expires_at) < Date.now() + ahead
                ? html`<span class="muted">expired</span>` : date(expires_at)}
        </td>
        <td data-name="Created"><${Ago} at=${created_at} /></td>
        <td class="end">
            <${Button} kind="quiet small" act=${revoke} aria-label=${`Revoke ${name}`}>Revoke<//>
        </td>
    </tr>`;
}

/** The first three models, and the others once somebody wants to see them. */
function Models({ of }) {
    if (!of.length) return html`<span class="muted">all</span>`;
    const label = (model) => html`<span class="label" key=${model}>${model}</span>`;
    if (of.length <= 4) return html`<span>${of.map(label)}</span>`;
    return html`<div>
        ${of.slice(0, 3).map(label)}
        <details><summary>${of.length - 3} more</summary>${of.slice(3).map(label)}</details>
    </div>`;
}

// The dialog

const LIFETIMES = { 0: "never", 1: "in a day", 7: "in a week", 30: "in 30 days", 90: "in 90 days", 365: "in a year" };
const FIELDS = ["name", "models", ...Object.keys(LIMITS), "expires_in"];

/** The request's body. Throws {field: what is wrong}. */
function body(form) {
    const wrong = {};
    const models = [...new Set(form.models.split("\n").map((line) => line.trim()).filter(Boolean))];
    const wanted = { name: form.name.trim(), role: "caller", models };
    if (!wanted.name) wrong.name = "expected a name";
    if (models.length > MOST_MODELS) wrong.models = `expected at most ${MOST_MODELS} models, got ${models.length}`;
    for (const name of Object.keys(LIMITS)) {
        const text = form[name].trim();
        if (text === "") continue;
        wanted[name] = /^\d+$/.test(text) ? Number(text) : 0;
        if (!Number.isSafeInteger(wanted[name]) || wanted[name] < 1) wrong[name] = "expected a whole number, such as 60";
    }
    if (form.days) wanted.expires_in = form.days * DAY;
    if (Object.keys(wrong).length) throw wrong;
    return wanted;
}

/** The names by which callers ask for the models that run. */
export function servedNames(deployments) {
    const running = deployments.filter(({ status }) => status === "running");
    return [...new Set(running.map((deployment) => deployment.served_model_name))];
}

function NewCallerKey({ close }) {
    const [form, setForm] = useState({ name: "", models: "", rpm: "", tpm: "", tpd: "", days: 0 });
    const [wrong, setWrong] = useState({});
    const [made, setMade] = useState(null);
    const { data } = usePoll("fleet", fleet, 0);
    const served = servedNames(data?.deployments ?? []);
    const element = useRef();
    const create = async (event) => {
        event.preventDefault();
        try {
            setMade(await post("api-keys", body(form)));
        } catch (error) {
            setWrong(error instanceof Error ? belongs(error, FIELDS) : error);
            focusWrong(element.current);
        }
    };
    if (made) return html`<${Created} made=${made} served=${served} close=${close} />`;
    const text = (name) => ({
        value: form[name],
        onInput: (event) => setForm({ ...form, [name]: event.target.value }),
        autocomplete: "off",
        spellcheck: false,
    });
    const limit = (name, title) => html`
        <${Field} name=${name} title=${title} wrong=${wrong}>
            ${(input) => html`<input ...${input} ...${text(name)} inputmode="numeric" placeholder="no limit" />`}
        <//>
    `;
    const running = served.length ? ` Running now: ${served.slice(0, 5).join(", ")}${served.length > 5 ? ", …" : ""}` : "";
    return html`<${Dialog} title="New caller key" close=${close}>
        <form ref=${element} class="form" onSubmit=${create} novalidate>
            <${Field} name="name" title="Name" hint="Of the program or the team that uses the key" wrong=${wrong} wide>
                ${(input) => html`<input ...${input} ...${text("name")} />`}
            <//>
            <${Field} name="models" title="Models" wrong=${wrong} wide
                hint=${`One name a line; every model if empty.${running}`}>
                ${(input) => html`<textarea ...${input} ...${text("models")} rows="2"></textarea>`}
            <//>
            ${limit("rpm", "Requests per minute")}
            ${limit("tpm", "Tokens per minute")}
            ${limit("tpd", "Tokens per day")}
            <${Field} name="expires_in" title="Expires" wrong=${wrong}>
                ${(input) => html`
                    <select ...${input} value=${form.days}
                        onChange=${(event) => setForm({ ...form, days: Number(event.target.value) })}>
                        ${Object.entries(LIFETIMES).map(([days, words]) => html`<option value=${days}>${words}</option>`)}
                    </select>
                `}
            <//>
            <small class="muted">Each gateway counts for itself: two gateways allow twice as much.</small>
            ${wrong.form && html`<p class="wrong" role="alert">${wrong.form}</p>`}
            <div class="actions end wide">
                <button type="button" onClick=${close}>Cancel</button>
                <button class="primary" type="submit">Create key</button>
            </div>
        </form>
    <//>`;
}

/** The secret, which only this answer has, and how to use it. */
function Created({ made, served, close }) {
    const { data } = usePoll("gateways", gatewayList, 0);
    const [first, ...others] = data?.gateways ?? [];
    const model = made.models?.[0] ?? served[0] ?? "MODEL";
    return html`<${Dialog} title="New caller key" close=${close} wide>
        <div class="join">
            <p>Copy the key now: it is not shown again. Gateways accept it within seconds.</p>
            <${Snippet} text=${made.key} what="the API key" />
            ${first && html`
                <p>A request to the gateway:</p>
                <${Snippet} text=${chatRequest(first.url, model, made.key)} what="a request with curl" />
            `}
            ${others.length > 0 && html`
                <p class="muted">
                    Also at ${others.map(({ url }, at) => html`${at > 0 && ", "}<code key=${url}>${url}</code>`)}
                </p>
            `}
            ${data && !first && html`
                <p class="muted">
                    No gateway is registered. Callers ask models at a gateway, which <code>muster gateway serve</code> runs.
                </p>
            `}
        </div>
        <div class="actions end"><button class="primary" onClick=${close}>Done</button></div>
    <//>`;
}
