// Images, weights and disk of one worker.
import { html, useState } from "./vendor/preact.js";
import { fromWorker, segment } from "./api.js";
import { bytes, date, percent, short } from "./format.js";
import { usePoll } from "./poll.js";
import { may } from "./session.js";
import { Asked, Bar, Button, Dialog, ask, say, useHere } from "./ui.js";

/** What the worker answers at `path`; one that is offline is not asked. */
export const whileOnline = (online, path) => async (signal) => {
    if (!online) throw new Error("It is offline, and cannot be asked.");
    return fromWorker("GET", path, { signal });
};

export function Images({ worker, path, online }) {
    const look = usePoll(`images ${worker.worker_id}`, whileOnline(online, `${path}/images`), 0);
    const [pulling, setPulling] = useState(false);
    const forget = async (image) => {
        const name = image.tags[0] ?? short(image.id);
        const what = `${bytes(image.size)} become free. It is pulled again when a deployment wants it.`;
        if (!(await ask(`Delete ${name}?`, what, "Delete"))) return;
        await fromWorker("DELETE", `${path}/images/${segment(image.id)}`);
        say(`${name} is deleted`);
        look.again();
    };
    const actions = online && may("operator") && html`
        <button class="quiet small" onClick=${() => setPulling(true)}>Pull</button>
    `;
    return html`<${Asked} id="images" title="Images" look=${look} online=${online} actions=${actions}>${({ images }) =>
        images.length === 0
            ? html`<p class="muted">No image is there.</p>`
            : html`<div class="table"><table>
                <thead>
                    <tr>
                        <th>Image</th>
                        <th>Size</th>
                        <th>Made</th>
                        <th>In use</th>
                        <th><span class="sr-only">Actions</span></th>
                    </tr>
                </thead>
                <tbody>${images.map((image) => html`<tr key=${image.id}>
                    <td data-name="Image">
                        <span class="clip" title=${image.id}>${image.tags.join(", ") || short(image.id)}</span>
                    </td>
                    <td data-name="Size">${bytes(image.size)}</td>
                    <td data-name="Made">
                        ${Number.isNaN(Date.parse(image.created)) ? image.created : date(image.created)}
                    </td>
                    <td data-name="In use">${image.used_by?.length ? "yes" : html`<span class="muted">no</span>`}</td>
                    <td class="end">
                        ${may("operator") && online && html`
                            <${Button} kind="quiet small" act=${() => forget(image)}>Delete<//>
                        `}
                    </td>
                </tr>`)}</tbody>
            </table></div>`}<//>
        ${pulling && html`<${Pull} path=${path} close=${() => (setPulling(false), look.again())} />`}`;
}

function Pull({ path, close }) {
    const [image, setImage] = useState("vllm/vllm-openai:latest");
    const [progress, setProgress] = useState(null);
    const [wrong, setWrong] = useState("");
    const here = useHere();
    const pull = async (event) => {
        event.preventDefault();
        setWrong("");
        setProgress({ phase: "queued" });
        try {
            const watch = (operation) => setProgress(operation.progress ?? { phase: operation.status });
            await fromWorker("POST", `${path}/images/pull`, { body: { image }, watch });
            say(`${image} is there`);
            if (here.current) close();
        } catch (error) {
            setWrong(error.message);
            setProgress(null);
        }
    };
    return html`<${Dialog} title="Pull an image" close=${close}>
        <form onSubmit=${pull}>
            <label>Image<input value=${image} required onInput=${(event) => setImage(event.target.value)}
                    spellcheck="false" autocomplete="off" aria-describedby="pull-wrong" />
            </label>
            <p class="wrong" id="pull-wrong" role="alert">${wrong}</p>
            ${progress && html`<${Progress} of=${progress} />`}
            <div class="actions end">
                <button type="button" onClick=${close}>Close</button>
                <button class="primary" type="submit" disabled=${progress !== null}>Pull</button>
            </div>
        </form>
    <//>`;
}

export function Progress({ of }) {
    const share = of.percent ?? (of.total ? (100 * of.current) / of.total : null);
    const words = [of.phase.replaceAll("_", " ")];
    if (of.total) words.push(`${bytes(of.current ?? 0)} of ${bytes(of.total)}`);
    if (of.rate) words.push(`${bytes(of.rate)}/s`);
    return html`<div class="progress">
        ${share !== null && html`<${Bar} share=${share} label=${percent(share)} />`}
        <span class="muted">${words.join(" · ")}${share !== null && html`<b>${percent(share)}</b>`}</span>
    </div>`;
}

export function Models({ worker, path, online }) {
    const look = usePoll(`models ${worker.worker_id}`, whileOnline(online, `${path}/models`), 0);
    const forget = async ({ model, size }) => {
        const what = `${bytes(size)} become free. They are downloaded again when a deployment wants them.`;
        if (!(await ask(`Delete the weights of ${model}?`, what, "Delete"))) return;
        await fromWorker("DELETE", `${path}/models/${segment(model)}`);
        say(`The weights of ${model} are deleted`);
        look.again();
    };
    return html`<${Asked} id="models" title="Models in its cache" look=${look} online=${online}>${({ models }) =>
        models.length === 0
            ? html`<p class="muted">No weights are kept there.</p>`
            : html`<div class="table"><table>
                <thead><tr><th>Model</th><th>Size</th><th><span class="sr-only">Actions</span></th></tr></thead>
                <tbody>${models.map((model) => html`<tr key=${model.model}>
                    <td data-name="Model"><span class="clip">${model.model}</span></td>
                    <td data-name="Size">${bytes(model.size)}</td>
                    <td class="end">
                        ${may("operator") && online && html`
                            <${Button} kind="quiet small" act=${() => forget(model)}>Delete<//>
                        `}
                    </td>
                </tr>`)}</tbody>
            </table></div>`}<//>`;
}

export function Disk({ worker, path, online }) {
    const look = usePoll(`disk ${worker.worker_id}`, whileOnline(online, `${path}/storage/disk`), 0);
    const [pruning, setPruning] = useState(false);
    const actions = online && may("operator") && html`
        <button class="quiet small" onClick=${() => setPruning(true)}>Prune</button>
    `;
    return html`<${Asked} id="disk" title="Disk" look=${look} online=${online} actions=${actions}>${(disk) =>
        html`
            <ul class="disks">
                ${(disk.paths?.length ? disk.paths : [{ path: "Images and weights", purpose: "", ...disk }]).map((folder) => {
            const share = folder.total ? (100 * (folder.total - folder.free)) / folder.total : 0;
            return html`<li key=${folder.path}>
                <div class="device-head">
                    <b>${folder.purpose || "disk"}</b>
                    <code class="clip">${folder.path}</code>
                    <span class="figures">${bytes(folder.free)} free of ${bytes(folder.total)}</span>
                </div>
                <${Bar} share=${share} kind=${share > 90 ? "full" : ""} label=${`${percent(share)} full`} />
            </li>`;
        })}</ul>`}<//>
        ${pruning && html`<${Prune} worker=${worker} path=${path} close=${() => (setPruning(false), look.again())} />`}
    `;
}

/** What would go is shown before it goes. */
function Prune({ worker, path, close }) {
    const [what, setWhat] = useState({ images: true, containers: true, volumes: false });
    const key = `prune ${worker.worker_id} ${JSON.stringify(what)}`;
    const run = (dry_run, signal) => fromWorker("POST", `${path}/storage/prune`, { body: { ...what, dry_run }, signal });
    const preview = usePoll(key, (signal) => run(true, signal), 0, { fresh: true });
    const here = useHere();
    const free = async () => {
        const { space_reclaimed } = await run(false);
        say(`${bytes(space_reclaimed)} are free again on ${worker.name}`);
        if (here.current) close();
    };
    const choice = (name, title) =>
        html`
            <label class="choice">
                <input type="checkbox" checked=${what[name]}
                    onChange=${(event) => setWhat({ ...what, [name]: event.target.checked })} />
                ${title}
            </label>
        `;
    return html`<${Dialog} title="Prune ${worker.name}" close=${close}>
        <fieldset><legend>What Muster pulled or started there, and nothing uses</legend>
            ${choice("images", "Images")}
            ${choice("containers", "Dead containers")}
            ${choice("volumes", "Volumes")}
        </fieldset>
        <div class="preview" role="status">${preview.data
            ? html`<p><b class="big">${bytes(preview.data.space_reclaimed)}</b> would become free.</p>
                ${preview.data.kept?.length > 0 && html`
                    <p class="muted">What stays:</p>
                    <ul class="kept">
                        ${preview.data.kept.map((item) => html`
                            <li>
                                <span class="clip">${item.what}</span>
                                <small>${bytes(item.bytes)}, ${item.why}</small>
                            </li>
                        `)}
                    </ul>
                `}
            `
            : html`
                <p class="waiting">${preview.error ? preview.error.message : "Asking the worker what would go …"}</p>
            `}
        </div>
        <div class="actions end"><button onClick=${close}>Cancel</button>
            <${Button} kind="danger" act=${free}
                disabled=${!preview.data || !(what.images || what.containers || what.volumes)}>Prune<//>
        </div>
    <//>`;
}
