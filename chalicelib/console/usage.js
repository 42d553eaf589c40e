// What callers used of the models: requests and tokens, by key or by model and by day, and the gateways that count them.
import { html, useState } from "./vendor/preact.js";
import { ahead, get } from "./api.js";
import { servedNames } from "./callers.js";
import { DayChart } from "./chart.js";
import { chatRequest } from "./curl.js";
import { count, shortDay } from "./format.js";
import { Gateways, gatewayList } from "./gateways.js";
import { usePoll } from "./poll.js";
import { to } from "./router.js";
import { may } from "./session.js";
import { fleet } from "./snapshot.js";
import { cell, memo, useCell } from "./state.js";
import { Empty, Loaded, Snippet, useFirst } from "./ui.js";

const EVERY = 60; // seconds: gateways report once a minute
const DAY = 86400000; // milliseconds
const PERIODS = { 1: "Today", 7: "Last 7 days", 30: "Last 30 days" };
const GROUPS = { key: "By key", model: "By model" };

/** What is shown stays chosen while people are on other pages. */
const chosen = cell({ by: "key", days: 7 });

const isoDay = (time) => new Date(time).toISOString().slice(0, 10);

async function load({ by, days }, signal) {
    const since = isoDay(Date.now() + ahead - (days - 1) * DAY);
    const [groups, found] = await Promise.all(
        [by, "day"].map((each) => get("usage", { by: each, since }, { signal })),
    );
    return { rows: groups.rows, days: everyDay(found) };
}

/** Each day of the period, in UTC; the API leaves out the days without a request. */
function everyDay({ since, until, rows }) {
    const used = new Map(rows.map((row) => [row.day, row]));
    const none = { requests: 0, prompt_tokens: 0, completion_tokens: 0 };
    const found = [];
    for (let time = Date.parse(since); time <= Date.parse(until); time += DAY) {
        const day = isoDay(time);
        found.push(used.get(day) ?? { day, ...none });
    }
    return found;
}

export function Usage() {
    const { by, days } = useCell(chosen);
    const found = usePoll(`usage ${by} ${days}`, (signal) => load({ by, days }, signal), EVERY);
    const gateways = usePoll("gateways", gatewayList, EVERY / 2);
    const choice = (title, value, options, set) => html`
        <select aria-label=${title} value=${value} onChange=${(event) => set(event.target.value)}>
            ${Object.entries(options).map(([option, words]) => html`<option value=${option}>${words}</option>`)}
        </select>
    `;
    return html`<div class="page">
        <header class="page-head">
            <div>
                <h1 tabindex="-1">Usage</h1>
                <p class="muted">What callers used of the models. Days begin at 00:00 UTC.</p>
            </div>
            <div class="actions choosers">
                ${choice("Period", days, PERIODS, (value) => (chosen.value = { by, days: Number(value) }))}
                ${choice("Group", by, GROUPS, (value) => (chosen.value = { by: value, days }))}
            </div>
        </header>
        ${found.error && found.data && html`
            <p class="banner" role="status">
                This is from before: ${found.error.message} <button class="small" onClick=${found.again}>Try again</button>
            </p>
        `}
        <${Loaded} from=${found}>${(data) => data.rows.length === 0
            ? html`<${Nothing} days=${days} gateways=${gateways.data?.gateways} />`
            : html`
                <${Totals} days=${data.days} />
                <${Charts} days=${data.days} />
                <${Groups} key=${by} by=${by} rows=${data.rows} />
            `}<//>
        <${Gateways} found=${gateways} />
    </div>`;
}

const FIGURES = { requests: "Requests", prompt_tokens: "Prompt tokens", completion_tokens: "Completion tokens" };
/** Before a figure in a table on a phone, where there is little room. */
const SHORT = { requests: "Requests", prompt_tokens: "Prompt", completion_tokens: "Completion" };
const TOKENS = [
    { field: "prompt_tokens", name: "prompt tokens", tone: "tone-0" },
    { field: "completion_tokens", name: "completion tokens", tone: "tone-2" },
];
const REQUESTS = [{ field: "requests", name: "requests", tone: "tone-1" }];

const Totals = memo(({ days }) => html`<section class="summary" aria-label="Totals">
    <dl>${Object.entries(FIGURES).map(([field, title]) => html`
        <div key=${field}>
            <dt>${title}</dt>
            <dd>${count(days.reduce((sum, day) => sum + day[field], 0))}</dd>
        </div>
    `)}</dl>
</section>`);

const Charts = memo(({ days }) => html`<section aria-label="Per day">
    <div class="charts">
        <${DayChart} id="tokens" title="Tokens per day" days=${days} parts=${TOKENS} />
        <${DayChart} id="requests" title="Requests per day" days=${days} parts=${REQUESTS} />
    </div>
    <details class="figures"><summary>Figures per day</summary>
        <div class="table"><table>
            <thead><tr><th>Day</th><${Heads} /></tr></thead>
            <tbody>${days.map((day) => html`<tr key=${day.day}>
                <td data-name="Day">${shortDay(day.day)}</td><${Cells} of=${day} />
            </tr>`)}</tbody>
        </table></div>
    </details>
</section>`);

const Heads = () => Object.entries(FIGURES).map(([field, title]) => html`<th class="number" key=${field}>${title}</th>`);
const Cells = ({ of }) => Object.entries(SHORT).map(([field, title]) => html`
    <td class="number" key=${field} data-name=${title}>${count(of[field])}</td>
`);

function Groups({ by, rows }) {
    const [filter, setFilter] = useState("");
    const wanted = filter.trim().toLowerCase();
    const found = rows.filter((row) => row[by].toLowerCase().includes(wanted));
    const [shown, more] = useFirst(found, by);
    return html`<section aria-labelledby="groups">
        <header class="section-head">
            <h2 id="groups">${GROUPS[by]}</h2>
            <input class="filter" type="search" data-filter placeholder="Filter by name" aria-label=${`Filter ${by}s`}
                value=${filter} onInput=${(event) => setFilter(event.target.value)} />
        </header>
        <div class="table"><table>
            <thead><tr><th>${by === "key" ? "Key" : "Model"}</th><${Heads} /></tr></thead>
            <tbody>${shown.map((row) => html`<${Row} key=${row.key_id ?? row.model} by=${by} row=${row} />`)}</tbody>
        </table></div>
        ${!shown.length && html`<p class="waiting">No ${by} matches “${filter}”.</p>`}
        ${more}
    </section>`;
}

/** A key that was revoked has no name any more. */
const Row = memo(({ by, row }) => html`<tr>
    <td data-name=${by === "key" ? "Key" : "Model"}>
        <span class="clip" title=${row[by]}>${row[by]}</span>
        ${by === "key" && row.key === row.key_id && html` <span class="label">revoked</span>`}
    </td>
    <${Cells} of=${row} />
</tr>`);

function Nothing({ days, gateways }) {
    const { data } = usePoll("fleet", fleet, 0);
    const [model = "MODEL"] = servedNames(data?.deployments ?? []);
    return html`<${Empty} title=${days === 1 ? "No usage today" : `No usage in the last ${days} days`}>
        <p>Gateways count the requests of callers. A caller is a program that has a caller key.</p>
        ${may("operator")
            ? html`<p><a class="button primary" href=${to("access")}>Create a caller key</a></p>`
            : html`<p>An operator can create a caller key.</p>`}
        ${gateways?.length > 0
            ? html`
                <p>Then ask a model at the gateway. The request is counted here within two minutes.</p>
                <${Snippet} text=${chatRequest(gateways[0].url, model)} what="a request with curl" />
            `
            : html`<p>Callers ask models at a gateway, which <code>muster gateway serve</code> runs.</p>`}
    <//>`;
}
