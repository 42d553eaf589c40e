// What lets machines, programs, and people in: registration tokens, callers' keys, and API keys.
import { html, useState } from "./vendor/preact.js";
import { ROOT, ahead, all, post, remove, segment } from "./api.js";
import { CallerKeys } from "./callers.js";
import { Field, belongs } from "./fields.js";
import { date } from "./format.js";
import { JoinLine } from "./join.js";
import { usePoll } from "./poll.js";
import { may, session } from "./session.js";
import { useCell } from "./state.js";
import { Ago, Button, Dialog, Empty, Icon, Loaded, Snippet, ask, say } from "./ui.js";

export function Access() {
    const { who } = useCell(session);
    return html`<div class="page">
        <header class="page-head">
            <div>
                <h1 tabindex="-1">Access</h1>
                <p class="muted">You are signed in with the key “${who.name}”, as ${who.role}.</p>
            </div>
        </header>
        ${may("operator")
            ? html`<${Tokens} /><${CallerKeys} />`
            : html`
            <${Empty} title="Nothing for viewers here">
                <p>Operators make tokens for machines and keys for callers, and admins keys for people.</p>
            <//>
        `}
        ${may("admin") && html`<${Keys} />`}
    </div>`;
}

const HOURS = { 1: "an hour", 24: "a day", 168: "a week", 720: "30 days" };

function Tokens() {
    const found = usePoll("tokens", (signal) => all("registration-tokens", "registration_tokens", { signal }), 10);
    const [making, setMaking] = useState(false);
    const revoke = async (token) => {
        const name = token.name ?? "this token";
        const what = "Machines that joined with it keep running, but cannot come back by it.";
        if (!(await ask(`Revoke ${name}?`, what, "Revoke"))) return;
        await remove(`registration-tokens/${segment(token.token_id)}`);
        say(`${name} is revoked`);
        found.again();
    };
    return html`<section aria-labelledby="tokens">
        <header class="section-head">
            <h2 id="tokens">Registration tokens</h2>
            <button class="primary small" onClick=${() => setMaking(true)}><${Icon} name="plus" />Add workers</button>
        </header>
        <${Loaded} from=${found}>${({ registration_tokens }) => registration_tokens.length === 0
            ? html`<p class="muted">None. A machine needs one to join.</p>`
            : html`<div class="table"><table>
                <thead>
                    <tr>
                        <th>Name</th>
                        <th>Used</th>
                        <th>Expires</th>
                        <th>Made</th>
                        <th><span class="sr-only">Actions</span></th>
                    </tr>
                </thead>
                <tbody>${registration_tokens.map((token) => html`<tr key=${token.token_id}>
                    <td data-name="Name">
                        <span class="clip">
                            ${token.name ?? html`<span class="muted">unnamed</span>`}
                        </span> ${token.takeover && html`
                            <span class="label">takeover</span>
                        `}
                        ${token.ephemeral && html`<span class="label">ephemeral</span>`}
                        ${token.revoked && html`<span class="label">revoked: revoke it again</span>`}
                    </td>
                    <td data-name="Used">${token.uses} of ${token.max_uses.toLocaleString("en")}</td>
                    <td data-name="Expires">
                        ${!token.expires_at ? "never" : Date.parse(token.expires_at) < Date.now() + ahead
                            ? html`<span class="muted">expired</span>` : date(token.expires_at)}
                    </td>
                    <td data-name="Made"><${Ago} at=${token.created_at} /></td>
                    <td class="end">
                        <${Button} kind="quiet small" act=${() => revoke(token)}
                            aria-label=${`Revoke ${token.name ?? "token"}`}>Revoke<//>
                    </td>
                </tr>`)}</tbody>
            </table></div>`}<//>
        ${making && html`<${NewToken} close=${() => (setMaking(false), found.again())} />`}
    </section>`;
}

function NewToken({ close }) {
    const [form, setForm] = useState({ name: "", hours: 1, max_uses: 1, ephemeral: false, takeover: false });
    const [wrong, setWrong] = useState({});
    const [token, setToken] = useState(null);
    const set = (more) => setForm({ ...form, ...more });
    const make = async (event) => {
        event.preventDefault();
        const { name, hours, max_uses, ephemeral, takeover } = form;
        try {
            const wanted = { expires_in: hours * 3600, max_uses: Number(max_uses), ephemeral, takeover };
            if (name.trim()) wanted.name = name.trim();
            setToken((await post("registration-tokens", wanted)).token);
        } catch (error) {
            setWrong(belongs(error, ["name", "max_uses", "expires_in", "takeover"]));
        }
    };
    if (token) return html`
        <${Dialog} title="Add workers" close=${close} wide>
            <${JoinLine} token=${token} />
            <div class="actions end"><button class="primary" onClick=${close}>Done</button></div>
        <//>
    `;
    const check = (name, title) => html`
        <label class="choice">
            <input type="checkbox" checked=${form[name]} onChange=${(event) => set({ [name]: event.target.checked })} />
            ${title}
        </label>
    `;
    return html`<${Dialog} title="Add workers" close=${close}>
        <form class="form" onSubmit=${make} novalidate>
            <${Field} name="name" title="Name" hint="To know it again in the list" wrong=${wrong} wide>
                ${(input) => html`
                    <input ...${input} value=${form.name} onInput=${(event) => set({ name: event.target.value })}
                        placeholder="rack 4" autocomplete="off" />
                `}
            <//>
            <${Field} name="max_uses" title="For how many machines" wrong=${wrong}>
                ${(input) => html`
                    <input ...${input} type="number" min="1" value=${form.max_uses}
                        onInput=${(event) => set({ max_uses: event.target.value })} />
                `}
            <//>
            <${Field} name="expires_in" title="Good for" wrong=${wrong}>
                ${(input) => html`
                    <select ...${input} value=${form.hours}
                        onChange=${(event) => set({ hours: Number(event.target.value) })}>
                        ${Object.entries(HOURS).map(([hours, words]) => html`<option value=${hours}>${words}</option>`)}
                    </select>
                `}
            <//>
            <div class="field wide">
                ${check("ephemeral", "Forget its workers after 15 minutes of silence")}
                ${may("admin") && check("takeover", "It may take the name of a worker that is offline")}
            </div>
            ${wrong.form && html`<p class="wrong" role="alert">${wrong.form}</p>`}
            <div class="actions end wide">
                <button type="button" onClick=${close}>Cancel</button>
                <button class="primary" type="submit">Make the line to run</button>
            </div>
        </form>
    <//>`;
}

/** Keys of people and of gateways, which the API lists apart. */
async function keysList(signal) {
    const lists = await Promise.all(
        [null, "gateway"].map((role) => all("api-keys", "api_keys", { query: { role }, signal })),
    );
    return { api_keys: lists.flatMap((list) => list.api_keys) };
}

function Keys() {
    const found = usePoll("keys", keysList, 10);
    const [making, setMaking] = useState(false);
    const revoke = async (key) => {
        if (!(await ask(`Revoke ${key.name}?`, "Whoever has it is locked out at once.", "Revoke"))) return;
        await remove(`api-keys/${segment(key.key_id)}`);
        say(`${key.name} is revoked`);
        found.again();
    };
    return html`<section aria-labelledby="keys">
        <header class="section-head">
            <h2 id="keys">API keys</h2>
            <button class="small" onClick=${() => setMaking(true)}><${Icon} name="plus" />New key</button>
        </header>
        <${Loaded} from=${found}>${({ api_keys }) => html`<div class="table"><table>
            <thead><tr><th>Name</th><th>Role</th><th>Made</th><th><span class="sr-only">Actions</span></th></tr></thead>
            <tbody>${api_keys.map((key) => html`<tr key=${key.key_id}>
                <td data-name="Name"><span class="clip">${key.name}</span></td>
                <td data-name="Role">${key.role}</td>
                <td data-name="Made"><${Ago} at=${key.created_at} /></td>
                <td class="end">
                    <${Button} kind="quiet small" act=${() => revoke(key)} aria-label=${`Revoke ${key.name}`}>Revoke<//>
                </td>
            </tr>`)}</tbody>
        </table></div>`}<//>
        ${making && html`<${NewKey} close=${() => (setMaking(false), found.again())} />`}
    </section>`;
}

const ROLES = {
    viewer: "sees everything but credentials",
    operator: "also deploys, drains and makes tokens",
    admin: "also makes keys and removes workers",
    gateway: "serves models to callers, and sees nothing here",
};

/** The command that runs a gateway with the key. */
function serveLine(key) {
    const url = ROOT.href.replace(/\/$/, "").replaceAll("'", "%27");
    return `MUSTER_GATEWAY_KEY=${key} muster gateway serve --control-plane '${url}' --url ADDRESS`;
}

function NewKey({ close }) {
    const [name, setName] = useState("");
    const [role, setRole] = useState("viewer");
    const [wrong, setWrong] = useState({});
    const [key, setKey] = useState(null);
    const make = async (event) => {
        event.preventDefault();
        try {
            setKey((await post("api-keys", { name: name.trim(), role })).key);
        } catch (error) {
            setWrong(belongs(error, ["name", "role"]));
        }
    };
    if (key) return html`
        <${Dialog} title="New key" close=${close}>
            <div class="join">
                <p>Copy it now: it is not shown again.</p>
                <${Snippet} text=${key} what="the API key" />
                ${role === "gateway" && html`
                    <p>Run a gateway with the key. ADDRESS is the URL at which callers and workers reach the gateway.</p>
                    <${Snippet} text=${serveLine(key)} what="the command that runs a gateway" />
                `}
            </div>
            <div class="actions end"><button class="primary" onClick=${close}>Done</button></div>
        <//>
    `;
    return html`<${Dialog} title="New key" close=${close}>
        <form class="form" onSubmit=${make} novalidate>
            <${Field} name="name" title="Name" hint="Timelines show it" wrong=${wrong} wide>
                ${(input) => html`
                    <input ...${input} value=${name} onInput=${(event) => setName(event.target.value)}
                        autocomplete="off" />
                `}
            <//>
            <fieldset class="field wide">
                <legend>Role</legend>
                ${Object.entries(ROLES).map(([option, words]) => html`
                    <label class="choice">
                        <input type="radio" name="role" checked=${role === option} onChange=${() => setRole(option)} />
                        <span><b>${option}</b> <span class="muted">${words}</span></span>
                    </label>
                `)}
            </fieldset>
            ${wrong.form && html`<p class="wrong" role="alert">${wrong.form}</p>`}
            <div class="actions end wide">
                <button type="button" onClick=${close}>Cancel</button>
                <button class="primary" type="submit">Make</button>
            </div>
        </form>
    <//>`;
}
