// How a machine becomes a worker: a token, and the line that carries it there.
import { html, useState } from "./vendor/preact.js";
import { ROOT, post } from "./api.js";
import { Button, Icon, Snippet } from "./ui.js";

const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** docs/install.md's line, for this control plane. */
export function joinLine(token) {
    const url = ROOT.href.replace(/\/$/, "").replaceAll("'", "%27");
    const insecure = ROOT.protocol === "http:" && !LOOPBACK.includes(ROOT.hostname) ? " --insecure" : "";
    return `curl -fsSL '${url}/join.sh' | sudo MUSTER_TOKEN=${token} sh -s -- --url '${url}'${insecure}`;
}

export const JoinLine = ({ token }) =>
    html`<div class="join">
        <p>Run this on the machine, as it is shown now: the token in it is not shown again.</p>
        <${Snippet} text=${joinLine(token)} what="the line that joins a machine" />
        <p class="muted">
            Debian or Ubuntu with <code>curl</code>, <code>python3-venv</code> and, for GPUs, NVIDIA’s driver. It shows
            up under Fleet within seconds.
        </p>
    </div>`;

/** A token for one machine, at one press. */
export function Invitation() {
    const [token, setToken] = useState(null);
    const make = async () => setToken((await post("registration-tokens", { expires_in: 3600, name: "console" })).token);
    if (token) return html`
        <${JoinLine} token=${token} />
        <p class="waiting" role="status">Waiting for it to call in …</p>
    `;
    return html`<p><${Button} kind="primary" act=${make}><${Icon} name="plus" />Add a worker<//></p>
        <p class="muted">Makes a token that lets one machine join within the hour, and shows the line to run there.</p>
    `;
}
