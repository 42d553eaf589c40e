// One worker: what it is, what its GPUs hold, what runs there, and what its disk is full of.
import { html, useState } from "./vendor/preact.js";
import { all, fromWorker, get, patch, post, remove, segment } from "./api.js";
import { Attention, Conditions } from "./conditions.js";
import { Device, closer, devices } from "./gpus.js";
import { date, memory, short } from "./format.js";
import { holders } from "./models.js";
import { usePoll } from "./poll.js";
import { leave, to } from "./router.js";
import { may } from "./session.js";
import { fleet } from "./snapshot.js";
import { Disk, Images, Models, whileOnline } from "./storage.js";
import { Ago, Asked, Button, Dialog, Facts, Icon, Labels, Loaded, Status, ask, say } from "./ui.js";

export function Worker({ id }) {
    const path = `workers/${segment(id)}`;
    const found = usePoll(`worker ${id}`, async (signal, fresh) => {
        const [worker, { deployments }] = await Promise.all([get(path, {}, { signal }), fleet(signal, fresh)]);
        return { worker, deployments };
    }, 3);
    return html`<${Loaded} from=${found}>${({ worker, deployments }) =>
        html`<div class="page">
            <${Head} worker=${worker} path=${path} again=${found.again} deployments=${deployments} />
            <${Conditions} of=${worker.conditions} title="Needs attention" />
            <${Facts} of=${{
                Host: worker.system_info.hostname,
                System: worker.system_info.os,
                Processors: worker.system_info.cpu_count,
                Memory: worker.system_info.memory_total ? memory(worker.system_info.memory_total) : "",
                Address: worker.address ?? "none: its models answer on the machine alone",
                Driver: worker.gpu_info.devices[0]?.driver_version,
                CUDA: worker.gpu_info.devices[0]?.cuda_version,
                Agent: worker.agent_version ?? "unknown",
                Joined: date(worker.registered_at),
            }} />
            <${Inside} key=${worker.worker_id} worker=${worker} path=${path} models=${holders(deployments)} />
        </div>`}<//>`;
}

function Head({ worker, path, again, deployments }) {
    const [labelling, setLabelling] = useState(false);
    const here = deployments.filter((deployment) => deployment.worker_id === worker.worker_id);
    const drain = async () => {
        await patch(path, { draining: !worker.draining });
        say(worker.draining ? `${worker.name} takes deployments again` : `${worker.name} drains: nothing new is placed there`);
        again();
    };
    const lose = async () => {
        const what = `Its deployments become errors, to be started again elsewhere. Say so only if ${worker.name} will not
            come back: where it still runs, its models go on.`;
        if (!(await ask(`Is ${worker.name} lost?`, what, "It is lost"))) return;
        const { deployments_lost } = await post(`${path}/lost`);
        say(`${worker.name} is lost, and with it ${deployments_lost.length} deployments`);
        again();
    };
    const forget = async () => {
        const live = here.filter((deployment) => !["stopped", "error"].includes(deployment.status)).length;
        const more = live ? ` It has ${live} live deployments, which become errors; their containers are left running.` : "";
        const what = `The control plane forgets it and its token.${more} To come back it needs a new one.`;
        if (!(await ask(`Remove ${worker.name}?`, what, "Remove", { typed: worker.name }))) return;
        await leave(`Removing ${worker.name} …`, () => remove(path, { force: live > 0 }));
        say(`${worker.name} is removed`);
    };
    return html`<header class="page-head">
        <div>
            <p class="crumb"><a href=${to()}><${Icon} name="back" />Fleet</a></p>
            <h1 tabindex="-1">
                ${worker.name} <${Status} is=${worker.status} /><${Attention} of=${worker.conditions} />
            </h1>
            <p class="muted">seen <${Ago} at=${worker.last_seen} /> <${Labels} of=${worker.labels} /></p>
        </div>
        <div class="actions">
            ${may("operator") && html`<${Button} act=${drain}>${worker.draining ? "Undrain" : "Drain"}<//>
                <button onClick=${() => setLabelling(true)}>Labels</button>
                <${Button} kind="danger quiet" act=${lose}>Lost<//>`}
            ${may("admin") && html`<${Button} kind="danger quiet" act=${forget}>Remove<//>`}
        </div>
        ${labelling && html`<${Relabel} worker=${worker} path=${path} close=${() => (setLabelling(false), again())} />`}
    </header>
    ${worker.status === "offline" && html`
        <p class="banner">
            Nothing was heard of it for a while. Its models may well go on: what is shown is as it was then.
        </p>
    `}
    ${worker.status === "draining" && html`
        <p class="banner">It drains: what runs goes on, nothing new is placed here.</p>
    `}`;
}

function Relabel({ worker, path, close }) {
    const written = Object.entries(worker.labels).map(([name, value]) => `${name}=${value}`).join("\n");
    const [text, setText] = useState(written);
    const [wrong, setWrong] = useState("");
    const save = async (event) => {
        event.preventDefault();
        const lines = text.split("\n").map((line) => line.trim()).filter(Boolean);
        const pairs = lines.map((line) => [line.split("=")[0].trim(), line.split("=").slice(1).join("=").trim()]);
        try {
            await patch(path, { labels: Object.fromEntries(pairs) });
            close();
        } catch (error) {
            setWrong(error.message);
        }
    };
    return html`<${Dialog} title="Labels of ${worker.name}" close=${close}>
        <form onSubmit=${save}>
            <label>One a line, as <code>name=value</code>
                <textarea rows="6" spellcheck="false" value=${text} onInput=${(event) => setText(event.target.value)}
                    aria-describedby="labels-wrong">
                </textarea>
            </label>
            <p class="wrong" id="labels-wrong" role="alert">${wrong}</p>
            <div class="actions end">
                <button type="button" onClick=${close}>Cancel</button>
                <button type="submit" class="primary">Save</button>
            </div>
        </form>
    <//>`;
}

/** What only the worker itself can tell is asked for when the page opens, and again on demand. */
function Inside({ worker, path, models }) {
    const online = worker.status !== "offline";
    const look = usePoll(`containers ${worker.worker_id}`, whileOnline(online, `${path}/containers`), 20);
    const containers = look.data?.containers ?? [];
    const found = devices(worker, models).map((device) => closer(device, look.data?.gpus, containers, models));
    return html`
        ${found.length > 0 && html`
            <section aria-labelledby="gpus">
                <h2 id="gpus">GPUs</h2>
                <ul class="devices">
                    ${found.map((device) => html`<${Device} key=${device.index} device=${device} />`)}
                </ul>
            </section>
        `}
        <${Containers} look=${look} path=${path} models=${models} online=${online} orphans=${worker.orphans} />
        <${Images} worker=${worker} path=${path} online=${online} />
        <${Models} worker=${worker} path=${path} online=${online} />
        <${Disk} worker=${worker} path=${path} online=${online} />`;
}

function Containers({ look, path, models, online, orphans }) {
    const stop = async (container) => {
        const what = container.deployment_id
            ? "Its deployment will count as stopped by an operator."
            : "Muster started it, and does not know it any more.";
        if (!(await ask(`Stop ${container.name}?`, what, "Stop"))) return;
        await fromWorker("POST", `${path}/containers/${segment(container.id)}/stop`, { body: {} });
        say(`${container.name} is stopped`);
        look.again();
    };
    return html`<${Asked} id="containers" title="Containers" look=${look} online=${online}>${({ containers }) =>
        containers.length === 0
            ? html`<p class="muted">Nothing runs there.</p>`
            : html`<div class="table"><table>
                <thead>
                    <tr>
                        <th>Name</th>
                        <th>Image</th>
                        <th>State</th>
                        <th>Whose</th>
                        <th><span class="sr-only">Actions</span></th>
                    </tr>
                </thead>
                <tbody>${containers.map((container) => html`<tr key=${container.id}>
                    <td data-name="Name">
                        <span class="clip" title=${container.name}>${container.name || short(container.id)}</span>
                    </td>
                    <td data-name="Image"><span class="clip">${container.image || "a process"}</span></td>
                    <td data-name="State">${container.state}</td>
                    <td data-name="Whose">${models[container.deployment_id]
                        ? html`<a href=${to("deployments", container.deployment_id)}>${models[container.deployment_id].name}</a>`
                        : container.ours
                            ? html`
                            <span class="warn">
                                ${orphans.includes(container.deployment_id) ? "orphan" : "a past deployment"}
                            </span>
                        `
                            : html`<span class="muted">not Muster’s</span>`}
                    </td>
                    <td class="end">
                        ${container.ours && container.state === "running" && may("operator") && html`
                            <${Button} kind="quiet small" act=${() => stop(container)}>Stop<//>
                        `}
                    </td>
                </tr>`)}</tbody>
            </table></div>`}<//>`;
}

export const workersList = (signal) => all("workers", "workers", { signal });
